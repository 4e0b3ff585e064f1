//! What the procedures are, for those who look for them.

use redpoll_net::ProcedureInfo;
use serde_json::{Value, json};

fn info(name: &str, description: &str, required: &[&str], properties: Value) -> ProcedureInfo {
    let schema = json!({
        "type": "object", "properties": properties, "required": required, "additionalProperties": false
    });
    ProcedureInfo::new(name, description, schema)
}

fn path() -> Value {
    json!({"description": "An absolute path, a text or binary."})
}

fn expect() -> Value {
    json!({
        "type": "object",
        "properties": {"size": {"type": "integer"}, "mtime_ns": {"type": "integer"}, "inode": {"type": "integer"}},
        "required": ["size", "mtime_ns", "inode"],
        "additionalProperties": false,
        "description": "What the file must still be, as file.stat told it; else the call fails as Changed. One that has only grown since is read up to this size, and told as changed."
    })
}

pub(super) fn stat() -> ProcedureInfo {
    let text = "Tells what is at a path: type, size, mode, owner, time. A link is looked at, not followed.";
    info("file.stat", text, &["path"], json!({"path": path()}))
}

pub(super) fn list() -> ProcedureInfo {
    let properties = json!({
        "path": path(),
        "after": {"description": "A name: only those after it, in the order of their bytes."},
        "limit": {"type": "integer", "minimum": 1, "maximum": 1000, "description": "Names in the answer; 500 if absent."}
    });
    info("file.list", "Lists what is in a folder, page by page.", &["path"], properties)
}

pub(super) fn read() -> ProcedureInfo {
    let properties = json!({
        "path": path(),
        "offset": {"type": "integer", "minimum": 0, "description": "Where to begin; 0 if absent."},
        "length": {"type": "integer", "minimum": 0, "description": "How many bytes; all if absent."},
        "stream": {
            "type": "string", "pattern": "^[0-9a-f]{32}$",
            "description": "The ticket of a connection of its own, over which the bytes go instead of as values."
        },
        "expect": expect(),
        "sha256": {"type": "boolean", "description": "Also tell the digest of the whole file."}
    });
    info("file.read", "Gives the bytes of a file as binary values.", &["path"], properties)
}

pub(super) fn hash() -> ProcedureInfo {
    let properties = json!({
        "path": path(),
        "offset": {"type": "integer", "minimum": 0, "description": "Where to begin; 0 if absent."},
        "length": {"type": "integer", "minimum": 0, "description": "How many bytes; all if absent."},
        "expect": expect(),
        "sha256": {"type": "boolean", "description": "Means nothing here: the digest is always told."}
    });
    info("file.hash", "Tells the sha256 of a file, or of a part of it.", &["path"], properties)
}

pub(super) fn write() -> ProcedureInfo {
    let name = |what: &str| json!({"description": what, "type": ["string", "integer"]});
    let properties = json!({
        "path": path(),
        "data": {"description": "The whole content, or a chunk of an upload: a text or binary."},
        "upload": {
            "type": "string", "pattern": "^[0-9a-f]{32}$",
            "description": "The name of an upload, chosen by its sender; for what does not fit into one call."
        },
        "offset": {"type": "integer", "minimum": 0, "description": "Where the chunk belongs."},
        "stream": {
            "type": "string", "pattern": "^[0-9a-f]{32}$",
            "description": "With offset, instead of data: the ticket of a connection of its own, over which all the rest comes; with commit the file is in its place then."
        },
        "query": {"type": "boolean", "description": "Tell how much of the upload is here, and its sha256."},
        "commit": {"type": "boolean", "description": "Replace the file by the upload."},
        "abort": {"type": "boolean", "description": "Remove the upload."},
        "size": {"type": "integer", "minimum": 0, "description": "With commit: the bytes of the whole."},
        "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$", "description": "The digest of the whole."},
        "folder": {"type": "boolean", "description": "Make a folder instead, unless there is one."},
        "mode": {
            "type": "integer", "minimum": 0, "maximum": 4095,
            "description": "The permission bits, 420 is 0644; those of the replaced file if absent, or 0644."
        },
        "new_mode": {
            "type": "integer", "minimum": 0, "maximum": 511,
            "description": "The permission bits if no file is replaced and mode is absent."
        },
        "owner": name("The owner, a name or a number; that of the replaced file if absent."),
        "group": name("The group, a name or a number; that of the replaced file if absent.")
    });
    let text = "Writes a file in one call or in many, or makes a folder.";
    // of a job it is stored, and may be a key
    let redact = vec!["data".to_owned()];
    ProcedureInfo { redact, ..info("file.write", text, &["path"], properties) }
}

pub(super) fn remove() -> ProcedureInfo {
    let properties = json!({
        "path": path(),
        "recursive": {"type": "boolean", "description": "Also a folder with all that is in it."}
    });
    info("file.remove", "Removes a file or an empty folder.", &["path"], properties)
}
