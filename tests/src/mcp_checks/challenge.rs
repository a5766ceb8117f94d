//! `WWW-Authenticate` as servers of any make send it (RFC 9110 section 11.6.1): several fields, several challenges in one.

use http::{HeaderMap, header};

/// One challenge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Challenge {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// The challenges with the scheme Bearer.
    ///
    /// # Errors
    /// What cannot be read of them.
    pub(super) fn all_bearer(headers: &HeaderMap) -> Result<Vec<Self>, String> {
        let mut all = Vec::new();
        for field in headers.get_all(header::WWW_AUTHENTICATE) {
            let text = field.to_str().map_err(|_| format!("WWW-Authenticate is not ASCII: {field:?}"))?;
            all.extend(parse(text).ok_or_else(|| format!("WWW-Authenticate cannot be read: {text}"))?);
        }
        all.retain(|challenge| challenge.scheme.eq_ignore_ascii_case("bearer"));
        Ok(all)
    }

    /// The value of a parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// A parameter that is there twice.
    pub(super) fn repeated(&self) -> Option<&str> {
        let names = || self.parameters.iter().map(|(name, _)| name);
        names().find(|name| names().filter(|other| other.eq_ignore_ascii_case(name)).count() > 1).map(String::as_str)
    }
}

fn parse(field: &str) -> Option<Vec<Challenge>> {
    let mut rest = Text(field);
    let mut challenges: Vec<Challenge> = Vec::new();
    loop {
        rest.skip(|c| c.is_ascii_whitespace() || c == ',');
        if rest.0.is_empty() {
            return Some(challenges);
        }
        let word = rest.token()?;
        let spaces = rest.skip(|c| c == ' ' || c == '\t');
        if rest.0.starts_with('=') && !challenges.is_empty() {
            let value = rest.value()?;
            challenges.last_mut()?.parameters.push((word.to_owned(), value));
        } else if spaces > 0 || rest.0.is_empty() || rest.0.starts_with(',') {
            challenges.push(Challenge { scheme: word.to_owned(), parameters: Vec::new() });
            rest.skip_token68();
        } else {
            return None;
        }
    }
}

/// What has not been read yet.
struct Text<'a>(&'a str);

impl<'a> Text<'a> {
    fn skip(&mut self, skipped: impl Fn(char) -> bool) -> usize {
        let rest = self.0.trim_start_matches(skipped);
        let length = self.0.len() - rest.len();
        self.0 = rest;
        length
    }

    fn token(&mut self) -> Option<&'a str> {
        let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        let whole = self.0;
        let length = self.skip(is_token);
        whole.get(..length).filter(|token| !token.is_empty())
    }

    /// After the name of a parameter: `=`, then a token or a quoted string.
    fn value(&mut self) -> Option<String> {
        self.0 = self.0.strip_prefix('=')?.trim_start_matches([' ', '\t']);
        let Some(quoted) = self.0.strip_prefix('"') else { return self.token().map(str::to_owned) };
        let (mut value, mut is_escaped) = (String::new(), false);
        for (position, c) in quoted.char_indices() {
            match c {
                _ if is_escaped => (is_escaped, _) = (false, value.push(c)),
                '\\' => is_escaped = true,
                '"' => {
                    self.0 = quoted.get(position + 1..)?;
                    return Some(value);
                }
                _ => value.push(c),
            }
        }
        None
    }

    /// The other form that a challenge can have, of schemes that are not ours (`Negotiate oYG2…==`).
    fn skip_token68(&mut self) {
        let is_token68 = |c: char| c.is_ascii_alphanumeric() || "-._~+/".contains(c);
        let rest = self.0.trim_start_matches(is_token68).trim_start_matches('=');
        let is_whole = rest.is_empty() || rest.trim_start_matches([' ', '\t']).starts_with(',');
        if is_whole && rest.len() < self.0.len() {
            self.0 = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(fields: &[&str]) -> Result<Vec<Challenge>, String> {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(header::WWW_AUTHENTICATE, field.parse().unwrap());
        }
        Challenge::all_bearer(&headers)
    }

    #[test]
    fn challenges_are_found_among_others_in_one_field_or_in_several() {
        let one = r#"Negotiate oYG2+/==, Basic realm="a, b", bearer resource_metadata = "https://a.example/\"x\"" ,scope=read"#;
        let found = bearer(&[one, "DPoP algs=\"ES256\"", "Bearer"]).unwrap();

        assert_eq!(found.len(), 2);
        assert_eq!(found[0].get("Resource_Metadata"), Some("https://a.example/\"x\""));
        assert_eq!((found[0].get("scope"), found[0].get("realm")), (Some("read"), None));
        assert_eq!(found[1], Challenge { scheme: "Bearer".to_owned(), parameters: Vec::new() });
    }

    #[test]
    fn what_is_no_challenge_is_an_error() {
        for field in ["Bearer realm=\"open", "=x", "Bearer scope=,a=", "Bearer \"x\"", "error=x"] {
            assert!(bearer(&[field]).is_err(), "{field}");
        }
    }

    #[test]
    fn a_parameter_that_is_there_twice_is_seen() {
        let found = bearer(&["Bearer scope=a, SCOPE=b"]).unwrap();
        assert_eq!(found[0].repeated(), Some("scope"));
        assert_eq!(bearer(&["Bearer scope=a, error=b"]).unwrap()[0].repeated(), None);
    }
}
