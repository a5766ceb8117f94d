//! Builds the introspection request (RFC 7662 §2.1). Pure: no input or output here.

use crate::client_authentication::ClientAuthentication;

/// The form that asks about `token`. Every value is form-encoded, so a token cannot add fields of its own. Token and secret
/// are in it: it is for the HTTP client, which keeps it until it is sent, and for nobody else.
pub fn introspection_form(token: &str, client_id: &str, authentication: &ClientAuthentication) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("token", token);
    form.append_pair("token_type_hint", "access_token");
    form.extend_pairs(authentication.form_fields(client_id));
    form.finish()
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::client_authentication::ClientSecret;

    #[test]
    fn rfc7662_s2_1_token_and_hint_are_form_encoded() {
        let secret = ClientSecret::new(Zeroizing::new("a&b=c d".to_owned()));
        let form = introspection_form("tok&x=+/~", "gate way", &ClientAuthentication::ClientSecretPost(secret));
        assert_eq!(
            form,
            "token=tok%26x%3D%2B%2F%7E&token_type_hint=access_token&client_id=gate+way&client_secret=a%26b%3Dc+d"
        );
    }
}
