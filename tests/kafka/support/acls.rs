//! ACLs, given as the arguments of Kafka's own tool: created and listed by requests, which take less time than it, and compared with its list.

use kbk_format::repo::AclBinding;

use super::broker::Broker;
use super::{wait, wire};

const TOOL: &str = "org.apache.kafka.tools.AclCommand";

/// Every resource type that the client knows, both patterns, both permissions, several hosts, principals and operations.
pub(crate) const MANY: [&str; 7] = [
    "--allow-principal User:alice --allow-principal User:bob --allow-host 10.0.0.1 --allow-host * \
     --operation Read --operation DescribeConfigs --topic orders",
    "--deny-principal User:größe --deny-host 10.0.0.2 --operation Write --topic ord \
     --resource-pattern-type prefixed",
    "--allow-principal User:monitor --operation Describe --topic *",
    "--allow-principal User:alice --operation Read --group billing",
    "--allow-principal User:alice --operation All --group bil --resource-pattern-type prefixed",
    "--allow-principal User:alice --operation Write --transactional-id tx",
    "--deny-principal User:bob --operation Alter --operation IdempotentWrite --cluster",
];

/// Creates the ACLs given as arguments of Kafka's tool, and waits until the broker has them.
pub(crate) fn add(broker: &Broker, args: &str) {
    let wanted = bindings(args);
    wire::create_acls(broker, &wanted);
    wait::until("the ACLs to apply", || {
        let found = list(broker);
        wanted.iter().all(|acl| found.contains(acl)).then_some(())
    });
}

/// Deletes the ACLs given as arguments of the tool.
pub(crate) fn remove(broker: &Broker, args: &str) {
    let args: Vec<&str> = args.split(' ').collect();
    broker.tool(TOOL, &[&["--remove", "--force"], args.as_slice()].concat());
}

/// Returns all ACLs of a cluster, in order.
pub(crate) fn list(broker: &Broker) -> Vec<AclBinding> {
    let mut found = wire::describe_acls(broker);
    found.sort();
    found
}

/// Returns the bindings that the tool makes of its arguments: of each principal, with each host, for each operation.
pub(crate) fn bindings(args: &str) -> Vec<AclBinding> {
    let words: Vec<&str> = args.split(' ').collect();
    let values = |option: &str| -> Vec<&str> {
        let pairs = words.windows(2).filter(|pair| pair[0] == option);
        pairs.map(|pair| pair[1]).collect()
    };
    let resources = [
        ("--topic", "TOPIC"),
        ("--group", "GROUP"),
        ("--transactional-id", "TRANSACTIONAL_ID"),
        ("--delegation-token", "DELEGATION_TOKEN"),
        ("--user-principal", "USER"),
    ];
    let named = resources
        .iter()
        .find_map(|(option, resource)| Some((*resource, *values(option).first()?)));
    let (resource_type, resource_name) = named.unwrap_or_else(|| {
        assert!(words.contains(&"--cluster"), "no resource: {args}");
        ("CLUSTER", "kafka-cluster")
    });
    let pattern = values("--resource-pattern-type");
    let pattern_type = pattern.first().unwrap_or(&"literal").to_uppercase();
    let mut found = Vec::new();
    for (kind, permission_type) in [("allow", "ALLOW"), ("deny", "DENY")] {
        let hosts = values(&format!("--{kind}-host"));
        let hosts = if hosts.is_empty() { vec!["*"] } else { hosts };
        for principal in values(&format!("--{kind}-principal")) {
            for host in &hosts {
                for operation in values("--operation") {
                    found.push(AclBinding {
                        resource_type: resource_type.to_owned(),
                        resource_name: resource_name.to_owned(),
                        pattern_type: pattern_type.clone(),
                        principal: principal.to_owned(),
                        host: (*host).to_owned(),
                        operation: constant(operation),
                        permission_type: permission_type.to_owned(),
                    });
                }
            }
        }
    }
    assert!(!found.is_empty(), "no binding: {args}");
    found
}

/// Returns `ALTER_CONFIGS` for `AlterConfigs`.
fn constant(name: &str) -> String {
    let mut constant = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !constant.is_empty() {
            constant.push('_');
        }
        constant.extend(letter.to_uppercase());
    }
    constant
}

/// Returns all ACLs of a cluster as Kafka's own tool lists them, in order.
pub(crate) fn list_by_tool(broker: &Broker) -> Vec<AclBinding> {
    let printed = broker.tool(TOOL, &["--list"]);
    let mut resource = None;
    let mut found = Vec::new();
    for line in printed.lines().map(str::trim) {
        if let Some(rest) = between(line, "ResourcePattern(", ")`:") {
            resource = Some(rest);
        } else if let Some(entry) = line
            .strip_prefix('(')
            .and_then(|line| line.strip_suffix(')'))
        {
            found.push(binding(resource.expect("a resource comes first"), entry));
        }
    }
    found.sort();
    found
}

fn between<'a>(line: &'a str, start: &str, end: &str) -> Option<&'a str> {
    Some(line.split_once(start)?.1.rsplit_once(end)?.0)
}

fn binding(resource: &str, entry: &str) -> AclBinding {
    let value = |text: &str, key: &str| {
        let values = text.split(", ").filter_map(|pair| pair.split_once('='));
        let mut values = values.filter(|(found, _)| *found == key);
        let (_, value) = values
            .next()
            .unwrap_or_else(|| panic!("no {key} in {text}"));
        value.to_owned()
    };
    AclBinding {
        resource_type: value(resource, "resourceType"),
        resource_name: value(resource, "name"),
        pattern_type: value(resource, "patternType"),
        principal: value(entry, "principal"),
        host: value(entry, "host"),
        operation: value(entry, "operation"),
        permission_type: value(entry, "permissionType"),
    }
}
