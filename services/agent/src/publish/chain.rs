//! Which certificates belong to a chain.

use signet_x509::CertificateView;

/// How many certificates from the first on are each signed by the next.
pub(super) fn length(certificates: &[Vec<u8>]) -> usize {
    let follows = |pair: &&[Vec<u8>]| matches!(pair, [below, above] if is_issuer(above, below));
    certificates.windows(2).take_while(follows).count().saturating_add(1)
}

/// Whether `above` has the name of the issuer of `below`; both DER.
pub(super) fn is_issuer(above: &[u8], below: &[u8]) -> bool {
    let views = (CertificateView::from_der(above), CertificateView::from_der(below));
    matches!(views, (Ok(above), Ok(below)) if above.subject_der == below.issuer_der)
}
