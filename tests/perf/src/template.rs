//! Configurations as files that people read, with `@NAME@` where something is only known when it runs.

/// Puts a value in the place of each name. Panics when a name is left without one.
pub(crate) fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let filled =
        values.iter().fold(template.to_owned(), |text, (name, value)| text.replace(&format!("@{name}@"), value));
    let is_name = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    assert_eq!(filled.split('@').find(is_name), None, "a name without a value, in:\n{filled}");
    filled
}

#[cfg(test)]
mod tests {
    use super::fill;

    #[test]
    fn names_are_replaced_wherever_they_stand() {
        assert_eq!(fill("a @B@ c @D@ @B@", &[("B", "1"), ("D", "2")]), "a 1 c 2 1");
    }

    #[test]
    #[should_panic(expected = "a name without a value")]
    fn a_name_without_a_value_is_not_left_there() {
        fill("listen @LISTEN@;", &[]);
    }
}
