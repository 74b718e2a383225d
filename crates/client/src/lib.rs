//! The SDK: an [`Identity`] that renews itself; for services [`serve`] and an [`Authorizer`]; and below them
//! credentials, a gRPC channel that authenticates with them, enrollment and renewal as single calls.

mod atomic_dir;
mod authorizer;
mod bundle;
mod calls;
mod clock;
mod connector;
mod credentials;
mod enrollment;
mod error;
mod files;
mod identity;
mod join_uri;
mod lock;
mod messages;
mod peer;
mod pending;
mod proofs;
mod refusals;
mod retry;
mod revocations;
mod root;
mod serve;
mod storage;
mod svid_keys;
mod tls;
mod tokens;

pub use atomic_dir::{Access, AtomicDir, NewFile, can_replace, fits, make_folder, replace_file};
pub use authorizer::{
    AccessAnswer, AccessClaims, Authorizer, Guarded, GuardedRequest, OngoingAccess, PeerCertificate, Question,
    QuestionResource, QuestionSubject, Require, Required, ShownToken,
};
pub use bundle::Bundle;
pub use calls::{enroll, enroll_with, renew};
pub use clock::system_clock;
pub use connector::{Connector, port_of};
pub use credentials::{CertificateFacts, Credentials, CredentialsError};
pub use enrollment::{Anew, Enrollment, JoinToken, ProofSource};
pub use error::{Alert, ClientError, ConnectError, RpcError};
pub use files::{BUNDLE_FILE, CA_FILE, CERT_FILE, KEY_FILE};
pub use identity::{
    FirstCertificate, Identity, IdentitySettings, LastFailure, LiveChannel, OutOfBand, RenewalState, Status,
    enroll_resumably,
};
pub use join_uri::{JoinUri, JoinUriError};
pub use lock::StorageLock;
pub use messages::{MessageSigner, MessageVerifier, SignedHeaders};
pub use peer::{Peer, PeerPolicy};
pub use pending::Pending;
pub use proofs::{AwsIam, Binding, OidcToken, ProofError, X509, environment_of};
pub use refusals::{RefusalSettings, Refusals, ShownBrokerToken};
pub use retry::{Retry, jittered, request_id};
pub use revocations::{RevocationListError, RevocationLists, VerifiedList};
pub use root::{RootError, fetch_root, fingerprint};
pub use serve::serve;
pub use signet_messages::{
    HEADERS as MESSAGE_HEADERS, MessageRefusal, ReplayRoom, SignedBy, SignedMessage, SigningSecret,
};
pub use storage::{Directory, InMemory, LOCK_FILE, Notes, Storage, read_notes, write_notes};
pub use svid_keys::{SvidClaims, SvidFault, SvidKeys};
pub use tokens::{BrokerTokenWish, IssuedToken, TokenChannel, Tokens};
