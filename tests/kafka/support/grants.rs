//! The permissions that docs/permissions.md lists, granted as it says.

use kbk::kafka::{Admin, ClientSettings};
use kbk_format::repo::AclBinding;

use super::broker::Broker;

const PAGE: &str = include_str!("../../../docs/permissions.md");

/// Returns the grants of each table in a section of the page, as arguments of `kafka-acls`.
pub(crate) fn of_section(heading: &str) -> Vec<Vec<String>> {
    let heading = format!("\n## {heading}\n");
    let (_, section) = PAGE.split_once(&heading).expect("a section of the page");
    let section = section.split("\n## ").next().expect("text");
    let tables = section.split("| grant | for |");
    let tables = tables.skip(1).map(|table| {
        let rows = table.lines().filter_map(|line| {
            let row = line.strip_prefix("| `")?;
            Some(row.split_once('`').expect("a closing quote").0.to_owned())
        });
        rows.collect()
    });
    tables.collect()
}

/// Replaces the placeholders of the page.
pub(crate) fn with_names(grant: &str, names: &[(&str, &str)]) -> String {
    let words = grant.split(' ').map(|word| {
        let name = names.iter().find(|(placeholder, _)| *placeholder == word);
        name.map_or(word, |(_, name)| *name)
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Grants permissions, each given as a principal and arguments of `kafka-acls`.
pub(crate) fn grant(broker: &Broker, grants: &[(&str, String)]) {
    let settings = ClientSettings::new(Some(broker.bootstrap()), None, &[]).expect("settings");
    let admin = Admin::connect(&settings).expect("the broker answers");
    let bindings: Vec<AclBinding> = grants
        .iter()
        .map(|(principal, grant)| binding(principal, grant))
        .collect();
    admin.create_acls(&bindings).expect("ACLs are created");
}

fn binding(principal: &str, grant: &str) -> AclBinding {
    let words: Vec<&str> = grant.split(' ').collect();
    let value = |option: &str| {
        let at = words.iter().position(|word| *word == option)?;
        Some(*words.get(at + 1).unwrap_or(&""))
    };
    let resources = [
        ("--topic", "TOPIC"),
        ("--group", "GROUP"),
        ("--transactional-id", "TRANSACTIONAL_ID"),
    ];
    let named = resources
        .iter()
        .find_map(|(option, resource)| Some((*resource, value(option)?)));
    let (resource_type, resource_name) = named.unwrap_or(("CLUSTER", "kafka-cluster"));
    let operation = match value("--operation").expect("an operation") {
        "AlterConfigs" => "ALTER_CONFIGS".to_owned(),
        "DescribeConfigs" => "DESCRIBE_CONFIGS".to_owned(),
        other => other.to_uppercase(),
    };
    let pattern = value("--resource-pattern-type").unwrap_or("literal");
    AclBinding {
        resource_type: resource_type.to_owned(),
        resource_name: resource_name.to_owned(),
        pattern_type: pattern.to_uppercase(),
        principal: format!("User:{principal}"),
        host: "*".to_owned(),
        operation,
        permission_type: "ALLOW".to_owned(),
    }
}
