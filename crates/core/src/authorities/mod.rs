//! Certificate authorities and the keys that they sign with.

mod ca;
pub mod signer;

pub use ca::{
    Ca, CaKind, CaState, PREPARED_A_DAY, PREPARED_A_DAY_BY_OPERATOR, RotationStep, plan_rotation, prepare_possible_at,
    prepared, signer,
};
