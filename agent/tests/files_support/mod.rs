//! An agent's procedures `file.*` without a connection, on a disk of its own.

#![allow(dead_code, clippy::unwrap_used, reason = "test code; not every test uses all of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use redpoll_agent::builtin::file::{Protected, install};
use redpoll_common::identity::Identity;
use redpoll_common::wire::{Fault, Raw, RawMap};
use redpoll_config::{FilesConfig, ProceduresConfig};
use redpoll_net::Registry;
use redpoll_net::service::detached_call;
use redpoll_net::transport::PeerInfo;
use serde_json::Value;
use tempfile::TempDir;

fn caller() -> PeerInfo {
    PeerInfo {
        identity: Identity::parse("spiffe://home/manager/m").unwrap(),
        address: "test".into(),
        ip: None,
        speaks_rp1: true,
        certificate: None,
    }
}

/// An agent's procedures, and its disk.
pub(crate) struct Desk {
    pub registry: Arc<Registry>,
    pub folder: TempDir,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut FilesConfig)) -> Self {
        let folder = TempDir::new().unwrap();
        for name in ["root", "state", "outside"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("outside/secret"), "secret").unwrap();
        let registry = registry(folder.path(), change);
        Self { registry: Arc::new(registry), folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("root").join(name)
    }

    pub(crate) fn arguments(&self, name: &str) -> RawMap {
        RawMap::new().text("path", self.path(name).to_str().unwrap())
    }

    /// A call whose answer is there for whoever polls for it.
    pub(crate) fn begin(&self, method: &str, kwargs: RawMap) -> BoxFuture<'static, Result<Raw, Fault>> {
        let (call, _output, _stop) = detached_call(caller(), method, Raw::empty_array(), kwargs.finish());
        self.registry.start(call).answer
    }

    pub(crate) async fn call_raw(&self, method: &str, kwargs: Raw) -> (Vec<u8>, Result<Value, Fault>) {
        let (call, mut output, _stop) = detached_call(caller(), method, Raw::empty_array(), kwargs);
        let mut task = tokio::task::JoinSet::new();
        task.spawn(self.registry.start(call).answer);
        let mut bytes = Vec::new();
        while let Some(value) = output.next().await {
            let value: serde_bytes::ByteBuf = value.unwrap().decode().unwrap();
            bytes.extend_from_slice(&value);
        }
        (bytes, task.join_next().await.unwrap().unwrap().map(|answer| answer.decode().unwrap()))
    }

    pub(crate) async fn call(&self, method: &str, kwargs: RawMap) -> Result<Value, Fault> {
        self.call_raw(method, kwargs.finish()).await.1
    }

    pub(crate) async fn class(&self, method: &str, kwargs: RawMap) -> String {
        let fault = self.call(method, kwargs).await.unwrap_err();
        fault.class.unwrap_or_else(|| fault.code.as_str().to_owned())
    }

    /// What lies in the root, unfinished uploads included.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("")).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

pub(crate) fn registry(folder: &Path, change: impl FnOnce(&mut FilesConfig)) -> Registry {
    let root = folder.join("root").display().to_string();
    let mut config = FilesConfig { read: vec![root.clone()], write: vec![root], ..FilesConfig::default() };
    change(&mut config);
    let offered = ProceduresConfig { builtin: vec!["file.*".into()], ..ProceduresConfig::default() };
    let own = Protected::new([folder.join("root/own"), folder.join("root/own.key")]);
    install(Registry::new(), &offered, &config, own, (&folder.join("state"), None)).unwrap()
}

pub(crate) const ID: &str = "00112233445566778899aabbccddeeff";

pub(crate) fn sha256(data: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, data);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| u8::try_from(n * 7 % 251).unwrap()).collect()
}

impl Desk {
    pub(crate) async fn call_list(&self, kwargs: Raw) -> ((), rmpv::Value) {
        let caller = PeerInfo {
            identity: Identity::parse("spiffe://home/manager/m").unwrap(),
            address: "test".into(),
            ip: None,
            speaks_rp1: true,
            certificate: None,
        };
        let (call, _output, _stop) = detached_call(caller, "file.list", Raw::empty_array(), kwargs);
        let answer = self.registry.start(call).answer.await.unwrap();
        ((), rmpv::decode::read_value(&mut answer.as_bytes()).unwrap())
    }
}
