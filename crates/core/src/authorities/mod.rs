//! Certificate authorities and the keys that they sign with.

mod ca;
mod revocation_list;
pub mod signer;

pub use ca::{
    Ca, CaKind, CaState, PREPARED_A_DAY, PREPARED_A_DAY_BY_OPERATOR, RotationStep, plan_rotation, prepare_possible_at,
    prepared, signer,
};
pub use revocation_list::{LIST_VALIDITY, MOST_OF_A_PART, RevocationList, RevocationListPart};
