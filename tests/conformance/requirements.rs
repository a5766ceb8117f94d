//! `README.md` says which test is for which requirement of MCP. It names no test that does not exist, and forgets none. So
//! does the threat model, of what shows each defence.

use std::{collections::BTreeSet, fs, path::Path};

const REQUIREMENTS: &str = "conformance/README.md";

/// The names of all functions in the files below a folder of the tests.
fn functions(folder: &str) -> BTreeSet<String> {
    fn read(path: &Path, names: &mut BTreeSet<String>) {
        for entry in fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(&path, names);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let starts = text.split("fn ").skip(1).filter_map(|rest| rest.split(['(', '<']).next());
                names.extend(starts.map(str::to_owned));
            }
        }
    }
    let mut names = BTreeSet::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut names);
    names
}

/// What stands between backticks in a document and can only be the name of a test.
fn named_tests(document: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(document)).unwrap();
    let is_name = |code: &&str| code.matches('_').count() > 2 && !code.contains(['.', '/', ' ', '-', '…']);
    text.split('`').skip(1).step_by(2).filter(is_name).map(str::to_owned).collect()
}

#[test]
fn mcp_requirements_name_tests_that_exist() {
    let (named, known) = (named_tests(REQUIREMENTS), &functions("conformance") | &functions("e2e"));

    assert!(named.len() > 50, "{named:#?}");
    let unknown: Vec<_> = named.difference(&known).collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
}

#[test]
fn mcp_requirements_forget_no_test() {
    let tests = &functions("conformance/mcp_authorization") | &functions("conformance/mcp_transport");
    let (tests, named): (BTreeSet<_>, _) = (
        tests.into_iter().filter(|name| name.starts_with("rev20") || name.starts_with("every_revision_")).collect(),
        named_tests(REQUIREMENTS),
    );

    assert!(tests.len() > 40, "{tests:#?}");
    let forgotten: Vec<_> = tests.difference(&named).collect();
    assert!(forgotten.is_empty(), "{forgotten:#?}");
}

#[test]
fn the_threat_model_names_tests_that_exist() {
    let named = named_tests("../docs/threat-model.md");
    let known = ["conformance", "e2e", "../gateway/src"].map(functions).into_iter().flatten().collect();

    assert!(named.len() > 50, "{named:#?}");
    let unknown: Vec<_> = named.difference(&known).collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
}
