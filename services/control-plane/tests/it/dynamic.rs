//! Every RPC by its descriptor: requests filled by field name, sent without generated code.

use bytes::{Buf, BufMut};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, Kind, MessageDescriptor, MethodDescriptor, Value};
use signet_proto::v1 as pb;
use tonic::{
    Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    transport::Channel,
};

/// All RPCs of the API, in the order of their files.
pub fn methods() -> Vec<MethodDescriptor> {
    let pool = DescriptorPool::decode(signet_proto::DESCRIPTORS).unwrap();
    let services: Vec<_> = pool.services().filter(|s| s.package_name() == "signet.v1").collect();
    services.iter().flat_map(|service| service.methods().collect::<Vec<_>>()).collect()
}

/// What requests are filled with.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    pub tenant_id: String,
    pub principal_id: String,
    pub issuer_id: String,
    pub serial_number: String,
    pub token_id: String,
    pub csr_der: Vec<u8>,
    pub whole: bool,
}

/// A request for `method`; with `whole`, one that could succeed.
pub fn request(method: &MethodDescriptor, fields: &Fields) -> DynamicMessage {
    fill(&method.input(), fields)
}

/// Whether the request names a tenant.
pub fn names_tenant(message: &MessageDescriptor) -> bool {
    message.fields().any(|field| match field.kind() {
        Kind::Message(inner) => inner.package_name() == "signet.v1" && names_tenant(&inner),
        _ => field.name() == "tenant_id",
    })
}

fn fill(descriptor: &MessageDescriptor, fields: &Fields) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        let value = match (field.name(), field.kind()) {
            ("tenant_id", _) => Value::String(fields.tenant_id.clone()),
            ("principal_id", _) => Value::String(fields.principal_id.clone()),
            ("issuer_id", _) if fields.whole => Value::String(fields.issuer_id.clone()),
            ("serial_number", _) if fields.whole => Value::String(fields.serial_number.clone()),
            ("token_id", _) if fields.whole => Value::String(fields.token_id.clone()),
            ("csr_der", _) if fields.whole => Value::Bytes(fields.csr_der.clone().into()),
            ("request_id", _) => Value::String(signet_client::request_id()),
            ("principal_type", _) if fields.whole => Value::EnumNumber(pb::PrincipalType::Device.into()),
            ("kind", _) if fields.whole => Value::EnumNumber(pb::CaKind::Tenant.into()),
            ("use", Kind::Enum(_)) if fields.whole => Value::EnumNumber(pb::TokenUse::JwtSvid.into()),
            ("action", Kind::Enum(_)) if fields.whole => Value::EnumNumber(pb::RotationAction::Due.into()),
            ("action", Kind::String) if fields.whole => Value::String("audit.read".into()),
            ("rules", Kind::Message(rules)) if fields.whole => Value::Message(DynamicMessage::new(rules)),
            ("checks", Kind::Message(check)) if fields.whole => Value::List(vec![Value::Message(fill(&check, fields))]),
            ("reason", _) if fields.whole => Value::EnumNumber(pb::RevocationReason::NotStated.into()),
            ("update_mask", Kind::Message(mask)) if fields.whole => {
                let mut message = DynamicMessage::new(mask);
                message.set_field_by_name("paths", Value::List(vec![Value::String("display_name".into())]));
                Value::Message(message)
            }
            ("rule_id" | "id_template", _) if fields.whole => Value::String("made-by-the-test".into()),
            ("proof_kind", _) if fields.whole => Value::EnumNumber(1),
            ("aws_iam", Kind::Message(source)) if fields.whole => Value::Message(DynamicMessage::new(source)),
            ("conditions", Kind::Message(condition)) if fields.whole => {
                let mut message = DynamicMessage::new(condition);
                message.set_field_by_name("fact", Value::String("account".into()));
                message.set_field_by_name("patterns", Value::List(vec![Value::String("123456789012".into())]));
                Value::List(vec![Value::Message(message)])
            }
            ("messages", Kind::Message(inner)) => Value::List(vec![Value::Message(fill(&inner, fields))]),
            ("tenant" | "principal" | "rule" | "message", Kind::Message(inner)) => Value::Message(fill(&inner, fields)),
            _ => continue,
        };
        message.set_field(&field, value);
    }
    message
}

/// Calls the method and returns its first message.
pub async fn call(channel: &Channel, method: &MethodDescriptor, message: &DynamicMessage) -> Result<Vec<u8>, Status> {
    let mut client = Grpc::new(channel.clone());
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let request = Request::new(message.encode_to_vec());
    let path = PathAndQuery::try_from(path).unwrap();
    let mut answers = client.server_streaming(request, path, Raw).await?.into_inner();
    if method.is_server_streaming() && method.name().starts_with("Tail") {
        return Ok(Vec::new());
    }
    Ok(answers.message().await?.unwrap_or_default())
}

/// Calls a unary method with these bytes for a message.
pub async fn send(channel: &Channel, path: &'static str, bytes: &[u8]) -> Result<Vec<u8>, Status> {
    let mut client = Grpc::new(channel.clone());
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let answer = client.unary(Request::new(bytes.to_vec()), PathAndQuery::from_static(path), Raw).await?;
    Ok(answer.into_inner())
}

/// Bytes as they are.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        Self
    }
    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;
    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;
    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining()).to_vec()))
    }
}
