use super::*;
use crate::schema_example::typed;
use redpoll_net::registry::Asks;
use serde_json::json;

fn deploy() -> Vec<ProcedureInfo> {
    let schema = json!({
    "type": "object", "required": ["site"], "additionalProperties": false, "x-positional": ["site"],
        "properties": {
            "site": {"type": "string", "maxLength": 40, "description": "Which\u{1b}[2J site."},
            "mode": {"enum": ["fast", "safe mode"], "default": "fast"},
            "tries": {"type": "integer", "minimum": 1, "maximum": 5},
            "dry": {"type": "boolean"},
            "hosts": {"type": "array", "items": {"type": "string"}},
        },
    });
    let info = |version| ProcedureInfo {
        version,
        ..ProcedureInfo::new("web.deploy", "Deploys a site.", schema.clone())
    };
    vec![
        ProcedureInfo { deprecated: Some("use 2".to_owned()), ..info(1) },
        ProcedureInfo {
            redact: vec!["token".to_owned()],
            asks: Some(Asks { submit: true, calls: vec!["site.\u{1b}[2J*".to_owned(), "a@1".to_owned()] }),
            ..info(2)
        },
        ProcedureInfo { disabled: Some("is off".to_owned()), ..info(3) },
    ]
}

#[test]
fn arguments_of_all_parts_and_behind_references_are_told() {
    let schema = json!({
        "$defs": {
            "Stage": {"type": "string", "enum": ["live", "test"], "default": "test"},
            "Common": {"properties": {"verbose": {"type": "boolean"}}, "required": ["verbose"]},
        },
        "properties": {"stage": {"$ref": "#/$defs/Stage", "description": "Where."}},
        "allOf": [
            {"$ref": "#/$defs/Common"},
            {"properties": {"copies": {"allOf": [{"type": "integer"}, {"minimum": 1}]}, "stage": {"type": "integer"}}},
        ],
    });
    let told: Vec<String> = rows(&arguments(&schema));
    let wanted = [
        "  verbose  boolean, required",
        "  copies   integer, at least 1",
        "  stage    live|test, default test; Where.",
    ];
    assert_eq!(told, wanted);
    // from another machine: without an end, and wide at each step
    let endless = json!({"properties": {"a": {}}, "allOf": vec![json!({"$ref": "#"}); 50]});
    assert_eq!(arguments(&endless).len(), 1);
    assert!(arguments(&json!({"$ref": "#/$defs/none"})).is_empty());
    // many that are wide: all together have one bound
    let wide = json!({"allOf": vec![json!({"$ref": "#/$defs/n"}); 20]});
    let many: Map<String, Value> = (0..100).map(|n| (format!("a{n}"), wide.clone())).collect();
    let told = arguments(&json!({"properties": many, "$defs": {"n": {"type": "integer"}}}));
    let known = told.iter().filter(|argument| argument.kind == "integer").count();
    assert!(told.len() == 100 && (5..20).contains(&known), "{known} of {}", told.len());
}

#[test]
fn of_a_schema_that_repeats_itself_or_is_too_large_there_is_help_at_once() {
    let repeated = (0..8).fold(
        json!({"type": "integer"}),
        |inner, _| json!({"type": "object", "required": vec!["a"; 50], "properties": {"a": inner}}),
    );
    let told = text(&[ProcedureInfo::new("p", "", repeated)], "p", "call a");
    assert!(
        told.contains("  a  object, required\n") && told.contains("  rpctl call a p 'a:={\"a\":{"),
        "{told}"
    );
    // the same names in all parts
    let part = json!({"$ref": "#/$defs/n"});
    let names =
        json!({"properties": {"a": {}}, "required": vec!["a"; 2 * MOST_REQUIRED], "allOf": vec![part; 400]});
    let schema = json!({"allOf": [{"$ref": "#/$defs/n"}], "$defs": {"n": names}});
    let merged = merged(&schema, &schema, DEEPEST, &mut { MOST_PARTS });
    assert_eq!(merged["required"].as_array().map(Vec::len), Some(2 * MOST_REQUIRED));
    assert!(arguments(&schema).iter().all(|argument| argument.required));
    let large = json!({"properties": {"a": {}}, "additionalProperties": false, "description": "x".repeat(MAX_SCHEMA_TEXT)});
    assert!(arguments(&large).is_empty());
    assert!(text(&[ProcedureInfo::new("p", "", large)], "p", "call a").contains("Arguments: any\n"));
}

#[test]
fn the_help_of_a_procedure_says_everything_that_a_caller_needs() {
    let expected = "web.deploy@2: Deploys a site.
Versions: 1 (deprecated: use 2), 2, 3 (disabled: off)

Usage: rpctl call web-1 web.deploy [site] [KEY=VALUE…]

Arguments:
  site   string, characters at most 40, required; Which site.
  dry    boolean
  hosts  array, of string
  mode   fast|safe mode, default fast
  tries  integer, at least 1, at most 5

Shown and stored as ***: token

May ask the manager to: submit jobs; call site.*, a@1

Example:
  rpctl call web-1 web.deploy site=TEXT
";
    assert_eq!(text(&deploy(), "web.deploy", "call web-1"), expected);
}

#[test]
fn an_example_is_typed_as_its_argument_wants() {
    let typed = |property: Value| typed(&argument(&json!({}), "a", &property, true, &mut 1));
    assert_eq!(typed(json!({"type": "integer"})), "a:=1");
    assert_eq!(typed(json!({"type": "boolean"})), "a:=true");
    assert_eq!(typed(json!({"enum": ["x y"]})), "'a=x y'");
    assert_eq!(typed(json!({"type": "object"})), "'a:={}'");
    assert_eq!(typed(json!(true)), "a=TEXT");
    // a text is JSON where the argument may be something else
    let maybe = |one: Value| json!({"anyOf": [one, {"type": "null"}]});
    assert_eq!(typed(json!({"type": ["string", "null"], "default": "x"})), "'a:=\"x\"'");
    assert_eq!(typed(maybe(json!({"enum": ["p", "q"]}))), "'a:=\"p\"'");
    assert_eq!(typed(json!({"enum": ["fast", 1]})), "'a:=\"fast\"'");
    assert_eq!(typed(json!({"type": "string", "default": "@home"})), "'a=\\@home'");
}

#[test]
fn a_type_that_contains_itself_is_told_once_and_then_named() {
    let node = json!({"$anchor": "node", "type": "object", "required": ["name"], "properties": {
        "name": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#node"}},
        "next": {"anyOf": [{"$ref": "#node"}, {"type": "null"}]}, "more": {"$ref": "#"},
    }});
    let schema = json!({"properties": {"tree": {"$ref": "#node", "description": "What to build."}}, "$defs": {"Node": node}});
    let told = text(&[ProcedureInfo::new("tree", "", schema)], "tree", "call a");
    let wanted = "Arguments:
  tree  Node; What to build.

Node:
  name      string, required
  children  array, of Node
  more      these arguments
  next      Node or null

Example:
  rpctl call a tree 'tree:={\"name\":\"TEXT\"}'
";
    assert!(told.ends_with(wanted), "{told}");
}

#[test]
fn a_procedure_without_a_schema_takes_anything() {
    let infos = [ProcedureInfo::new("p", "", json!(true))];
    assert!(text(&infos, "p", "call a").contains("Arguments: any"));
    let infos = [ProcedureInfo::new("p", "", json!({"additionalProperties": false}))];
    assert!(text(&infos, "p", "call a").contains("Arguments: none"));
    assert_eq!(text(&infos, "q", "call a"), "");
}

#[test]
fn an_example_has_no_argument_that_would_be_an_option() {
    let named = |name: &str| json!({"properties": {name: {"type": "string", "default": "/home/ada/key"}}});
    let shown = |name| text(&[ProcedureInfo::new("p", "", named(name))], "p", "call a");
    assert!(shown("path").ends_with("  rpctl call a p path=/home/ada/key\n"), "{}", shown("path"));
    assert!(shown("--stdin").ends_with("  rpctl call a p\n"), "{}", shown("--stdin"));
}

#[test]
fn the_command_of_exec_run_stands_behind_two_dashes() {
    let schema = json!({"required": ["argv"], "x-positional": "argv", "additionalProperties": false, "properties": {
        "argv": {"type": "array", "minItems": 1}, "stdin": {},
    }});
    let told = text(&[ProcedureInfo::new("exec.run", "", schema.clone())], "exec.run", "call a");
    assert!(told.contains("Usage: rpctl call a exec.run [KEY=VALUE…] -- PROGRAM ARG…\n"), "{told}");
    assert!(told.ends_with("  rpctl call a exec.run -- PROGRAM ARG…\n"), "{told}");
    let told = text(&[ProcedureInfo::new("p", "", schema)], "p", "call a");
    assert!(told.contains("Usage: rpctl call a p [argv…] [KEY=VALUE…]\n"), "{told}");
    assert!(told.ends_with("  rpctl call a p 'argv:=[\"TEXT\"]'\n"), "{told}");
}

#[test]
fn positional_arguments_are_told_as_they_can_be_typed() {
    let usage = |schema: Value| {
        let told = text(&[ProcedureInfo::new("p", "", schema)], "p", "call a");
        told.lines().find_map(|line| line.strip_prefix("Usage: rpctl call a p").map(str::to_owned)).unwrap()
    };
    let properties = json!({"name": {"type": "string"}, "tries": {"type": "integer"}, "any": {}});
    let named = json!({"properties": properties, "x-positional": ["name", "tries", "any"]});
    assert_eq!(usage(named), " [name] [tries:=JSON] [any] [KEY=VALUE…]");
    assert_eq!(usage(json!({"x-positional": true})), " [ARG…] [KEY=VALUE…]");
    assert_eq!(usage(json!({"type": "object"})), " [KEY=VALUE…]");
}

#[test]
fn what_is_described_where_it_stands_is_told_with_its_bounds_and_an_example_that_fits() {
    let schema = json!({
        "type": "object", "required": ["user", "data"],
        "properties": {
            "user": {"type": "object", "required": ["name"], "properties": {
                "name": {"type": "string", "minLength": 2, "description": "Who."},
                "home": {"type": "object", "properties": {"path": {"type": "string"}}},
            }},
            "data": {},
            "jobs": {"type": "array", "items": {"type": "object", "properties": {"every": {"type": "integer", "minimum": 5}}}},
            "to": {"anyOf": [
                {"type": "object", "required": ["host"], "properties": {"host": {"type": "string"}}},
                {"type": "object", "properties": {"port": {"type": "integer", "maximum": 9, "description": "Where."}}},
                {"type": "null"},
            ]},
        },
        "additionalProperties": {"type": "integer", "minimum": 1, "description": "Weights."},
    });
    let told = text(&[ProcedureInfo::new("p", "", schema)], "p", "call a");
    let wanted = "Arguments:
  data  any, required
  user  object, required
  jobs  array, of object
  to    object or object or null
  any other name: integer, at least 1; Weights.

jobs.*:
  every  integer, at least 5

to, choice 1:
  host  string, required

to, choice 2:
  port  integer, at most 9; Where.

user:
  name  string, characters at least 2, required; Who.
  home  object

user.home:
  path  string

Example:
  rpctl call a p data=TEXT 'user:={\"name\":\"TEXT\"}'
";
    assert!(told.ends_with(wanted), "{told}");
    let choice = json!({"anyOf": [{"properties": {"a": {"type": "string"}}}, {"properties": {"b": {"type": "string"}}}]});
    let told = text(&[ProcedureInfo::new("p", "", choice)], "p", "call a");
    assert!(told.contains("these arguments, choice 2:\n  b  string\n"), "{told}");
    let map = json!({"additionalProperties": {"type": "string"}});
    let told = text(&[ProcedureInfo::new("p", "", map)], "p", "call a");
    assert!(told.contains("Arguments:\n  any name: string\n"), "{told}");
}
