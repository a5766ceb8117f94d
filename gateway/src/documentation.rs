//! What the documentation says of the program, held against the program.

use std::path::{Path, PathBuf};

use expect_test::expect_file;
use strum::VariantArray as _;

use crate::audit::Reason;
use crate::config;

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

#[test]
fn the_configuration_reference_is_the_one_of_this_program() {
    // Stale? `UPDATE_EXPECT=1 cargo test -p phantomgate documentation`
    expect_file![docs().join("configuration.md")].assert_eq(&config::reference());
}

#[test]
fn every_reason_is_explained_to_operators_once() {
    let operations = std::fs::read_to_string(docs().join("operations.md")).unwrap();
    let (_, table) = operations.split_once("| reason | what happened |").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    let mut explained: Vec<_> = table.lines().skip(2).filter_map(|row| row.split('`').nth(1)).collect();
    let mut reasons: Vec<_> = Reason::VARIANTS.iter().map(<&str>::from).collect();

    explained.sort_unstable();
    reasons.sort_unstable();
    assert_eq!(explained, reasons);
    for row in table.lines().skip(2) {
        let cells: Vec<_> = row.split(" | ").collect();
        assert!(cells.len() == 5 && cells.iter().all(|cell| !cell.trim_matches(['|', ' ']).is_empty()), "{row}");
    }
}

#[test]
fn every_member_of_the_workspace_is_there_when_the_image_is_built() {
    let read = |file: &str| std::fs::read_to_string(docs().join("..").join(file)).unwrap();
    let (manifest, admitted) = (read("Cargo.toml"), read(".dockerignore"));
    let (_, members) = manifest.split_once("members = [").unwrap();
    let (members, _) = members.split_once("\n]").unwrap();

    for member in members.lines().filter_map(|line| line.split('"').nth(1)) {
        let is_admitted = |folder: &Path| admitted.lines().any(|line| line == format!("!{}/", folder.display()));
        assert!(Path::new(member).ancestors().any(is_admitted), "{member} is not in .dockerignore");
    }
}

#[test]
fn the_image_is_built_with_the_toolchain_of_the_repository() {
    let root = docs().join("..");
    let toolchain = std::fs::read_to_string(root.join("rust-toolchain.toml")).unwrap();
    let channel = toolchain.split('"').nth(1).unwrap();
    let dockerfile = std::fs::read_to_string(root.join("packaging/Dockerfile")).unwrap();
    let (_, image) = dockerfile.split_once("library/rust:").unwrap();
    let (version, _) = image.split_once('-').unwrap();

    assert!(channel.starts_with(&format!("{version}.")), "{version} is not {channel}");
}
