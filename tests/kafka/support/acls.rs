//! ACLs, created and listed by Kafka's own tool.

use kbk_format::repo::AclBinding;

use super::broker::Broker;

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

/// Creates the ACLs given as arguments of the tool.
pub(crate) fn add(broker: &Broker, args: &str) {
    let args: Vec<&str> = args.split(' ').collect();
    broker.tool(TOOL, &[&["--add"], args.as_slice()].concat());
}

/// Deletes the ACLs given as arguments of the tool.
pub(crate) fn remove(broker: &Broker, args: &str) {
    let args: Vec<&str> = args.split(' ').collect();
    broker.tool(TOOL, &[&["--remove", "--force"], args.as_slice()].concat());
}

/// Returns all ACLs of a cluster, in order.
pub(crate) fn list(broker: &Broker) -> Vec<AclBinding> {
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
