//! All that a device needs to join, as a QR code: the line of [`JoinUri`].

use std::path::Path;

use secrecy::{ExposeSecret as _, SecretString};
use signet_client::{Credentials, JoinToken, JoinUri, fetch_root, fingerprint};
use signet_x509::server_anchors;

use crate::{
    context::{Contexts, private},
    failure::Failure,
    qr::{self, Picture},
    run::Run,
};

/// As long as every token: what is wrong with a code is found out before there is one.
const PLACEHOLDER: &str = "sgt_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A code that lacks its token only.
#[derive(Debug)]
pub(crate) struct Invitation {
    uri: JoinUri,
    /// On the terminal, if there is none.
    picture: Option<Picture>,
}

impl Invitation {
    /// To the server of the chosen context and to `tenant`. Whoever joins finds the server as we do here.
    pub(crate) async fn of(run: &Run, tenant: &str, file: Option<&Path>) -> Result<Self, Failure> {
        let contexts = Contexts::load(&run.home)?;
        let (name, context) = contexts.select(run.global.context.as_deref())?;
        let Some(ca_url) = context.public_endpoint.clone() else {
            let endpoint = &context.endpoint;
            let hint = format!(
                "name it: `principal context add {name} --endpoint {endpoint} --public-endpoint http://HOST:8080 --replace`"
            );
            let message = format!("context {name} names no public listener, from which devices get the server anchor");
            return Err(Failure::usage(message).hint(hint));
        };
        let credentials = Credentials::load(&context.directory(&run.home)).map_err(Failure::other)?;
        let anchors = server_anchors(credentials.root_der());
        let ca_sha256 = anchors.first().map(|der| fingerprint(der)).unwrap_or_default();
        fetch_root(&ca_url, &ca_sha256).await?;
        if is_this_machine(&context.endpoint) {
            run.printer.warn(&format!("the code leads to {}: only this machine can join with it", context.endpoint));
        }
        let uri = JoinUri {
            server: context.endpoint.clone(),
            server_name: context.server_name.clone(),
            ca_url,
            ca_sha256,
            tenant: tenant.parse()?,
            token: JoinToken(SecretString::from(PLACEHOLDER)),
        };
        let code = qr::encode(uri.to_text().expose_secret())?;
        let picture = file.map(Picture::of).transpose()?;
        if picture.is_none() {
            qr::check_terminal(&code)?;
        }
        Ok(Self { uri, picture })
    }

    /// Shows the code, or writes it to `file`.
    pub(crate) fn hand_over(self, run: &Run, secret: SecretString, file: Option<&Path>) -> Result<(), Failure> {
        let uri = JoinUri { token: JoinToken(secret), ..self.uri };
        let code = qr::encode(uri.to_text().expose_secret())?;
        match (self.picture, file) {
            (Some(picture), Some(file)) => {
                private::write(file, &picture.draw(&code)?)?;
                run.printer.note(&format!("the code is in {}; it is as secret as the token", file.display()));
                Ok(())
            }
            _ => qr::show(&code),
        }
    }
}

fn is_this_machine(endpoint: &str) -> bool {
    let host = endpoint.trim_start_matches("https://");
    ["localhost", "127.", "[::1]"].iter().any(|local| host.starts_with(local))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_that_only_this_machine_reaches_is_known() {
        for (endpoint, local) in [
            ("https://localhost:8443", true),
            ("https://127.0.0.1:8443", true),
            ("https://[::1]:8443", true),
            ("https://signet.example.com", false),
        ] {
            assert_eq!(is_this_machine(endpoint), local, "{endpoint}");
        }
    }
}
