//! ACLs: listing and creating them.
//!
//! librdkafka 2.12.1 has three traps:
//!
//! - It drops the error of a DescribeAcls answer, so a denied request looks like a cluster without ACLs. So the permission is
//!   checked before the request, and where the answer is empty, a broker is asked whether it has an authorizer at all.
//! - It reports the resource types `DELEGATION_TOKEN` and `USER`, and operations after `IDEMPOTENT_WRITE`, as *unknown*. Those
//!   bindings are counted, and can be neither described nor created.
//! - It copies the principals and hosts of a whole answer onto its thread's stack. In 8 MiB, 90,000 bindings with principals of 55
//!   bytes fit; 105,000 crash the process.

#![expect(
    unsafe_code,
    reason = "these calls exist in librdkafka's C interface only"
)]

use std::ffi::CString;
use std::ptr::{self, NonNull};

use kbk_format::counted;
use kbk_format::repo::AclBinding;
use rdkafka_sys as sys;
use sys::rd_kafka_AclOperation_t as Operation;
use sys::rd_kafka_AclPermissionType_t as PermissionType;
use sys::rd_kafka_ResourcePatternType_t as Pattern;
use sys::rd_kafka_ResourceType_t as Resource;
use sys::rd_kafka_admin_op_t as Op;

use super::answer::{items, structs};
use super::owned::{Acl, Config, c_string};
use super::request::{BrokerError, Request, Responder};
use super::{Admin, invalid};
use crate::kafka::client::{Reason, owned_text};
use crate::kafka::error::{Code, KafkaError};
use crate::kafka::permission::{AclOperation, Permission};

/// The ACLs of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclListing {
    /// Whether the cluster has an authorizer; true where brokers do not report it. Without one there are no ACLs.
    pub authorizer: bool,
    /// The bindings, sorted and without duplicates.
    pub bindings: Vec<AclBinding>,
    /// Number of bindings that librdkafka cannot represent.
    pub unknown: usize,
}

/// librdkafka's constants and Kafka's names for them.
const RESOURCES: [(Resource, &str); 4] = [
    (Resource::RD_KAFKA_RESOURCE_TOPIC, "TOPIC"),
    (Resource::RD_KAFKA_RESOURCE_GROUP, "GROUP"),
    (Resource::RD_KAFKA_RESOURCE_BROKER, "CLUSTER"),
    (
        Resource::RD_KAFKA_RESOURCE_TRANSACTIONAL_ID,
        "TRANSACTIONAL_ID",
    ),
];
const PATTERNS: [(Pattern, &str); 2] = [
    (Pattern::RD_KAFKA_RESOURCE_PATTERN_LITERAL, "LITERAL"),
    (Pattern::RD_KAFKA_RESOURCE_PATTERN_PREFIXED, "PREFIXED"),
];
const OPERATIONS: [(Operation, &str); 11] = [
    (Operation::RD_KAFKA_ACL_OPERATION_ALL, "ALL"),
    (Operation::RD_KAFKA_ACL_OPERATION_READ, "READ"),
    (Operation::RD_KAFKA_ACL_OPERATION_WRITE, "WRITE"),
    (Operation::RD_KAFKA_ACL_OPERATION_CREATE, "CREATE"),
    (Operation::RD_KAFKA_ACL_OPERATION_DELETE, "DELETE"),
    (Operation::RD_KAFKA_ACL_OPERATION_ALTER, "ALTER"),
    (Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE, "DESCRIBE"),
    (
        Operation::RD_KAFKA_ACL_OPERATION_CLUSTER_ACTION,
        "CLUSTER_ACTION",
    ),
    (
        Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS,
        "DESCRIBE_CONFIGS",
    ),
    (
        Operation::RD_KAFKA_ACL_OPERATION_ALTER_CONFIGS,
        "ALTER_CONFIGS",
    ),
    (
        Operation::RD_KAFKA_ACL_OPERATION_IDEMPOTENT_WRITE,
        "IDEMPOTENT_WRITE",
    ),
];
const PERMISSIONS: [(PermissionType, &str); 2] = [
    (PermissionType::RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW, "ALLOW"),
    (PermissionType::RD_KAFKA_ACL_PERMISSION_TYPE_DENY, "DENY"),
];

/// Whether this client can represent the binding, and so create it: it does not know newer names.
#[must_use]
pub fn knows_acl(binding: &AclBinding) -> bool {
    Acl::new(binding).is_ok()
}

impl Admin {
    /// Lists all ACLs of the cluster.
    pub fn acls(&self) -> Result<AclListing, KafkaError> {
        const DOING: &str = "list the ACLs";
        if !self.cluster_rights()?.describe {
            let denied = KafkaError::of(Code::CLUSTER_DENIED, DOING, None, "");
            return Err(denied.needing(Permission::cluster(AclOperation::Describe)));
        }
        let everything = Acl::everything().map_err(|cause| invalid(DOING, cause))?;
        let listed: Vec<Option<AclBinding>> = self.request(
            &Request {
                doing: DOING.to_owned(),
                op: Op::RD_KAFKA_ADMIN_OP_DESCRIBEACLS,
                responder: Responder::Controller,
            },
            |client, options, queue| {
                // SAFETY: all handles are live; the filter is copied.
                unsafe {
                    sys::rd_kafka_DescribeAcls(client, everything.0.as_ptr(), options, queue);
                }
            },
            |event| {
                // SAFETY: the event is of this kind, and its contents live as long as it does.
                unsafe {
                    let mut count = 0;
                    let result = sys::rd_kafka_event_DescribeAcls_result(event);
                    let acls = sys::rd_kafka_DescribeAcls_result_acls(result, &mut count);
                    Ok(items(acls, count)
                        .iter()
                        .map(|&acl| from_acl(acl))
                        .collect())
                }
            },
        )?;
        let authorizer = !listed.is_empty() || self.has_authorizer()?;
        let unknown = listed.iter().filter(|acl| acl.is_none()).count();
        let mut bindings: Vec<AclBinding> = listed.into_iter().flatten().collect();
        bindings.sort_unstable();
        bindings.dedup();
        Ok(AclListing {
            authorizer,
            bindings,
            unknown,
        })
    }

    /// Creates ACLs, in this order. Existing ones stay.
    pub fn create_acls(&self, bindings: &[AclBinding]) -> Result<(), KafkaError> {
        // Controllers accept at most 10,000 per request.
        const AT_ONCE: usize = 1000;
        for chunk in bindings.chunks(AT_ONCE) {
            let created = self.create_acls_at_once(chunk);
            created.map_err(|error| error.needing(Permission::cluster(AclOperation::Alter)))?;
        }
        Ok(())
    }

    fn create_acls_at_once(&self, bindings: &[AclBinding]) -> Result<(), KafkaError> {
        const DOING: &str = "create ACLs";
        let acls: Result<Vec<Acl>, String> = bindings.iter().map(Acl::new).collect();
        let acls = acls.map_err(|cause| invalid(DOING, cause))?;
        self.request(
            &Request {
                doing: DOING.to_owned(),
                op: Op::RD_KAFKA_ADMIN_OP_CREATEACLS,
                responder: Responder::Controller,
            },
            |client, options, queue| {
                let mut acls: Vec<_> = acls.iter().map(|acl| acl.0.as_ptr()).collect();
                // SAFETY: all handles are live; the array is read during the call, and what it points to is copied.
                unsafe {
                    sys::rd_kafka_CreateAcls(client, acls.as_mut_ptr(), acls.len(), options, queue);
                }
            },
            |event| {
                // SAFETY: the event is of this kind, and its contents live as long as it does.
                unsafe {
                    let mut count = 0;
                    let result = sys::rd_kafka_event_CreateAcls_result(event);
                    let results = sys::rd_kafka_CreateAcls_result_acls(result, &mut count);
                    // Results carry no key. Their order is that of the request, so with one missing all would be misattributed.
                    let results = items(results, count);
                    if results.len() != bindings.len() {
                        return Err(BrokerError {
                            text: format!(
                                "sent {}, and received {}",
                                counted(bindings.len(), "ACL"),
                                counted(results.len(), "result")
                            ),
                            ..BrokerError::of(Code::BAD_MESSAGE)
                        });
                    }
                    for (&result, binding) in results.iter().zip(bindings) {
                        let error = sys::rd_kafka_acl_result_error(result);
                        BrokerError::check_error(error, "").map_err(|error| BrokerError {
                            text: format!("{}: {}", describe(binding), error.text),
                            ..error
                        })?;
                    }
                }
                Ok(())
            },
        )
    }

    /// Whether brokers check permissions, according to the configuration of one of them. If reading that is denied, they do.
    fn has_authorizer(&self) -> Result<bool, KafkaError> {
        const DOING: &str = "read the authorizer of a broker";
        let broker = self.metadata(|metadata| {
            // SAFETY: the array lives as long as the metadata.
            let brokers = unsafe { structs(metadata.brokers, metadata.broker_cnt) };
            Ok(brokers.first().map(|broker| broker.id))
        })?;
        let Some(broker) = broker else {
            return Ok(true);
        };
        let config = Config::of_broker(broker).map_err(|cause| invalid(DOING, cause))?;
        let configs = match self.configs(DOING, &[config]) {
            Err(error) if error.is_denied() || error.is_unsupported() => return Ok(true),
            configs => configs?,
        };
        let entry = configs
            .values()
            .find_map(|config| config.get("authorizer.class.name"));
        let is_set = |value: &String| !value.is_empty();
        Ok(entry.is_none_or(|entry| entry.value.as_ref().is_some_and(is_set)))
    }
}

/// Describes a binding, for an error about one of many.
fn describe(binding: &AclBinding) -> String {
    let AclBinding {
        resource_type,
        resource_name,
        pattern_type,
        principal,
        host,
        operation,
        permission_type,
    } = binding;
    format!(
        "{permission_type} {operation} on {resource_type} {resource_name:?} ({pattern_type}) to {principal:?} from {host:?}"
    )
}

impl Acl {
    fn new(binding: &AclBinding) -> Result<Acl, String> {
        let resource = value(&RESOURCES, &binding.resource_type)?;
        let pattern = value(&PATTERNS, &binding.pattern_type)?;
        let operation = value(&OPERATIONS, &binding.operation)?;
        let permission = value(&PERMISSIONS, &binding.permission_type)?;
        let texts: [CString; 3] = [
            c_string(&binding.resource_name)?,
            c_string(&binding.principal)?,
            c_string(&binding.host)?,
        ];
        let [name, principal, host] = texts.each_ref().map(|text| text.as_ptr());
        let mut reason = Reason::new();
        // SAFETY: the texts are C strings, which are copied; the buffer's size is given.
        let acl = unsafe {
            sys::rd_kafka_AclBinding_new(
                resource,
                name,
                pattern,
                principal,
                host,
                operation,
                permission,
                reason.as_mut_ptr(),
                Reason::SIZE,
            )
        };
        let acl = NonNull::new(acl).map(Acl);
        acl.ok_or_else(|| format!("{}: {reason}", describe(binding)))
    }

    /// Creates a filter that matches every binding.
    fn everything() -> Result<Acl, String> {
        let mut reason = Reason::new();
        // SAFETY: null matches any text; the buffer's size is given.
        let filter = unsafe {
            sys::rd_kafka_AclBindingFilter_new(
                Resource::RD_KAFKA_RESOURCE_ANY,
                ptr::null(),
                Pattern::RD_KAFKA_RESOURCE_PATTERN_ANY,
                ptr::null(),
                ptr::null(),
                Operation::RD_KAFKA_ACL_OPERATION_ANY,
                PermissionType::RD_KAFKA_ACL_PERMISSION_TYPE_ANY,
                reason.as_mut_ptr(),
                Reason::SIZE,
            )
        };
        NonNull::new(filter)
            .map(Acl)
            .ok_or_else(|| reason.to_string())
    }
}

/// Reads a binding; `None` where librdkafka cannot represent it. It replaces unknown values before they reach its enums.
///
/// # Safety
/// `acl` is part of a live answer.
unsafe fn from_acl(acl: *const sys::rd_kafka_AclBinding_t) -> Option<AclBinding> {
    // SAFETY: by contract, for everything reached from the binding.
    unsafe {
        Some(AclBinding {
            resource_type: name_of(&RESOURCES, sys::rd_kafka_AclBinding_restype(acl))?,
            resource_name: owned_text(sys::rd_kafka_AclBinding_name(acl)),
            pattern_type: name_of(
                &PATTERNS,
                sys::rd_kafka_AclBinding_resource_pattern_type(acl),
            )?,
            principal: owned_text(sys::rd_kafka_AclBinding_principal(acl)),
            host: owned_text(sys::rd_kafka_AclBinding_host(acl)),
            operation: name_of(&OPERATIONS, sys::rd_kafka_AclBinding_operation(acl))?,
            permission_type: name_of(&PERMISSIONS, sys::rd_kafka_AclBinding_permission_type(acl))?,
        })
    }
}

fn name_of<T: PartialEq>(names: &[(T, &str)], value: T) -> Option<String> {
    let known = names.iter().find(|(known, _)| *known == value);
    known.map(|(_, name)| (*name).to_owned())
}

fn value<T: Copy>(names: &[(T, &str)], name: &str) -> Result<T, String> {
    let known = names.iter().find(|(_, known)| *known == name);
    known
        .map(|(value, _)| *value)
        .ok_or_else(|| format!("the Kafka client cannot represent {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::EmbeddedCluster;

    fn binding() -> AclBinding {
        AclBinding {
            resource_type: "CLUSTER".to_owned(),
            resource_name: "kafka-cluster".to_owned(),
            pattern_type: "LITERAL".to_owned(),
            principal: "User:größe".to_owned(),
            host: "10.0.0.1".to_owned(),
            operation: "ALTER_CONFIGS".to_owned(),
            permission_type: "DENY".to_owned(),
        }
    }

    #[test]
    fn every_known_name_survives_the_round_trip_through_librdkafka() {
        for (_, resource) in RESOURCES {
            for (_, pattern) in PATTERNS {
                for (_, operation) in OPERATIONS {
                    for (_, permission) in PERMISSIONS {
                        let mut binding = binding();
                        binding.resource_type = resource.to_owned();
                        binding.pattern_type = pattern.to_owned();
                        binding.operation = operation.to_owned();
                        binding.permission_type = permission.to_owned();
                        assert!(knows_acl(&binding));
                        let acl = Acl::new(&binding).unwrap();
                        // SAFETY: the binding is live.
                        let back = unsafe { from_acl(acl.0.as_ptr()) };
                        assert_eq!(back, Some(binding));
                    }
                }
            }
        }
    }

    #[test]
    fn what_the_client_cannot_represent_is_named() {
        type Change = fn(&mut AclBinding);
        let changes: [(Change, &str); 5] = [
            (|b| b.resource_type = "USER".to_owned(), "USER"),
            (|b| b.pattern_type = "MATCH".to_owned(), "MATCH"),
            (
                |b| b.operation = "CREATE_TOKENS".to_owned(),
                "CREATE_TOKENS",
            ),
            (|b| b.permission_type = "ASK".to_owned(), "ASK"),
            (|b| b.principal = "a\0b".to_owned(), "NUL"),
        ];
        for (change, named) in changes {
            let mut binding = binding();
            change(&mut binding);
            assert!(!knows_acl(&binding), "{named}");
            let error = Acl::new(&binding).err().unwrap();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn listing_acls_is_an_error_where_the_cluster_does_not_support_it() {
        let cluster = EmbeddedCluster::start(1).unwrap();
        let admin = Admin::connect(&cluster.settings().unwrap()).unwrap();
        let error = admin.acls().unwrap_err();
        assert!(error.is_unsupported(), "{error}");
        let error = admin.create_acls(&[binding()]).unwrap_err();
        assert!(error.is_unsupported(), "{error}");
    }
}
