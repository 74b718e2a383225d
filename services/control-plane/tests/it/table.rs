//! The server does not start on a gap in its authorization table.

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, Value};
use signet_control_plane::authorization::{Access, Table, TableError};
use signet_core::authorization::Policy;

/// The API's descriptors with the options of one RPC changed.
fn doctored(rpc: &str, change: impl Fn(&mut DynamicMessage)) -> Vec<u8> {
    let pool = DescriptorPool::decode(signet_proto::DESCRIPTORS).unwrap();
    let extension = pool.get_extension_by_name("signet.v1.authorization").unwrap();
    let set = pool.get_message_by_name("google.protobuf.FileDescriptorSet");
    let meta = DescriptorPool::global();
    let set = set.or_else(|| meta.get_message_by_name("google.protobuf.FileDescriptorSet"));
    // The descriptors of descriptors, which know our extension too.
    let set = set.unwrap_or_else(|| panic!("descriptor.proto is not in the set"));
    let mut message = DynamicMessage::decode(set, signet_proto::DESCRIPTORS).unwrap();
    for_each_method(&mut message, &mut |method| {
        if method.get_field_by_name("name").unwrap().as_str() == Some(rpc) {
            let mut options = method.get_field_by_name("options").unwrap().as_message().unwrap().clone();
            let mut rule = options.get_extension(&extension).as_message().unwrap().clone();
            change(&mut rule);
            if rule.fields().next().is_none() {
                options.clear_extension(&extension);
            } else {
                options.set_extension(&extension, Value::Message(rule));
            }
            method.set_field_by_name("options", Value::Message(options));
        }
    });
    message.encode_to_vec()
}

fn for_each_method(set: &mut DynamicMessage, change: &mut impl FnMut(&mut DynamicMessage)) {
    let each = |message: &mut DynamicMessage, field: &str, change: &mut dyn FnMut(&mut DynamicMessage)| {
        if let Some(Value::List(list)) = message.get_field_by_name_mut(field) {
            list.iter_mut().filter_map(Value::as_message_mut).for_each(change);
        }
    };
    each(set, "file", &mut |file| each(file, "service", &mut |service| each(service, "method", change)));
}

fn table(descriptors: &[u8]) -> Result<Table, TableError> {
    Table::from_descriptors(descriptors, &Policy::new())
}

#[test]
fn the_api_has_a_rule_for_each_rpc() {
    let table = table(signet_proto::DESCRIPTORS).unwrap();
    let ruled = table.iter().filter(|(_, route)| matches!(route.access(), Access::Rule(_)) && !route.http).count();
    assert_eq!(ruled, crate::dynamic::methods().len());
    let path = "/signet.v1.TenantService/CreateTenant";
    assert!(table.route(path).is_some_and(|route| route.mutates && route.operation == "CreateTenant"));
    assert!(table.route("/signet.v1.TenantService/DropTenant").is_none());
    for version in ["v1", "v1alpha"] {
        let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
        assert!(table.route(&path).unwrap().access() == Access::Admins, "{path}");
    }
}

#[test]
fn questions_over_https_have_the_rule_of_their_rpcs_and_weigh_no_less() {
    let table = table(signet_proto::DESCRIPTORS).unwrap();
    let rpc = |name: &str| table.route(&format!("/signet.v1.AuthorizationService/{name}")).unwrap();
    for (path, name) in [
        ("evaluation", "Check"),
        ("evaluations", "BatchCheck"),
        ("search/subject", "BatchCheck"),
        ("search/resource", "BatchCheck"),
        ("search/action", "BatchCheck"),
    ] {
        let (face, rpc) = (table.route(&format!("/access/v1/{path}")).unwrap(), rpc(name));
        assert!(face.http && face.access() == rpc.access() && face.lane == rpc.lane);
        // A search reads a listing, too.
        let is_search = path.starts_with("search/");
        assert!(if is_search { face.weight > rpc.weight } else { face.weight == rpc.weight }, "{path}");
    }
    assert!(rpc("BatchCheck").weight > rpc("Check").weight);
    assert!(table.route("/.well-known/authzen-configuration").unwrap().access() == Access::Anyone);
}

#[test]
fn an_rpc_without_a_rule_stops_the_start() {
    let bare = doctored("RevokeToken", |rule| {
        ["permission", "callers", "mutates"].iter().for_each(|field| rule.clear_field_by_name(field));
    });
    let error = table(&bare).unwrap_err();
    assert!(matches!(&error, TableError::NoRule { rpc } if rpc.ends_with("EnrollmentService.RevokeToken")), "{error}");
}

#[test]
fn an_unknown_permission_or_caller_and_an_empty_list_stop_the_start() {
    let unknown = doctored("WhoAmI", |rule| rule.set_field_by_name("permission", Value::String("made.up".into())));
    assert!(matches!(table(&unknown).unwrap_err(), TableError::UnknownPermission { .. }));
    let nobody = doctored("WhoAmI", |rule| rule.clear_field_by_name("callers"));
    assert!(matches!(table(&nobody).unwrap_err(), TableError::NoCallers { .. }));
    let stranger = doctored("WhoAmI", |rule| {
        rule.set_field_by_name("callers", Value::List(vec![Value::EnumNumber(0)]));
    });
    assert!(matches!(table(&stranger).unwrap_err(), TableError::UnknownCaller { number: 0, .. }));
    assert!(matches!(table(&[]).unwrap_err(), TableError::Descriptors(_)));
}
