//! Builds the introspection request (RFC 7662 §2.1). Pure: no input or output here.

use zeroize::Zeroizing;

use crate::client_authentication::ClientAuthentication;

/// The form that asks about `token`. Every value is form-encoded, so a token cannot add fields of its own; wiped when
/// dropped, because token and secret are in it.
pub fn introspection_form(token: &str, client_id: &str, authentication: &ClientAuthentication) -> Zeroizing<String> {
    // Room for the worst case of encoding: growing would leave copies of the token behind in freed memory.
    let capacity = 256 + 3 * token.len() + 3 * client_id.len();
    let mut form = form_urlencoded::Serializer::new(String::with_capacity(capacity));
    form.append_pair("token", token);
    form.append_pair("token_type_hint", "access_token");
    form.extend_pairs(authentication.form_fields(client_id));
    Zeroizing::new(form.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client_authentication::ClientSecret;

    #[test]
    fn rfc7662_s2_1_token_and_hint_are_form_encoded() {
        let secret = ClientSecret::new(Zeroizing::new("a&b=c d".to_owned()));
        let form = introspection_form("tok&x=+/~", "gate way", &ClientAuthentication::ClientSecretPost(secret));
        assert_eq!(
            *form,
            "token=tok%26x%3D%2B%2F%7E&token_type_hint=access_token&client_id=gate+way&client_secret=a%26b%3Dc+d"
        );
    }
}
