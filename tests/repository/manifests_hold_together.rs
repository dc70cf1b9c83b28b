//! The manifests of `docs/fleet/` are YAML, name only what exists, and set variables that this crate reads.

use std::fs;
use std::path::Path;

use yaml_rust2::{Yaml, YamlLoader};

/// A file of manifests.
struct Manifests {
    file: String,
    documents: Vec<Yaml>,
}

fn all() -> Vec<Manifests> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/fleet");
    let files = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|e| e == "yaml"));
    let all: Vec<_> = files
        .map(|path| Manifests {
            file: path.display().to_string(),
            documents: YamlLoader::load_from_str(&fs::read_to_string(&path).unwrap())
                .unwrap_or_else(|error| panic!("{}: {error}", path.display())),
        })
        .collect();
    assert!(all.len() >= 4, "{} files are too few", all.len());
    all
}

impl Manifests {
    fn of_kind<'a>(&'a self, kinds: &'a [&str]) -> impl Iterator<Item = &'a Yaml> {
        let is_one = |document: &&Yaml| kinds.contains(&document["kind"].as_str().unwrap());
        self.documents.iter().filter(is_one)
    }

    fn workloads(&self) -> impl Iterator<Item = &Yaml> {
        self.of_kind(&["Deployment", "DaemonSet", "StatefulSet"])
    }
}

fn items(list: &Yaml) -> &[Yaml] {
    list.as_vec().map_or(&[], |items| items)
}

fn containers(workload: &Yaml) -> &[Yaml] {
    items(&workload["spec"]["template"]["spec"]["containers"])
}

fn name(of: &Yaml) -> &str {
    of["name"].as_str().unwrap()
}

#[test]
fn each_object_has_a_version_a_kind_and_a_name() {
    for manifests in all() {
        for document in &manifests.documents {
            assert!(
                document["apiVersion"].as_str().is_some(),
                "{}",
                manifests.file
            );
            assert!(document["kind"].as_str().is_some(), "{}", manifests.file);
            assert!(!name(&document["metadata"]).is_empty());
        }
    }
}

#[test]
fn selectors_ports_and_volumes_lead_to_something() {
    for manifests in all() {
        let file = &manifests.file;
        for workload in manifests.workloads() {
            let template = &workload["spec"]["template"];
            let labels = &template["metadata"]["labels"];
            assert_eq!(
                &workload["spec"]["selector"]["matchLabels"], labels,
                "{file}"
            );
            for volume in items(&template["spec"]["volumes"]) {
                let wanted = name(&volume["configMap"]);
                let mut maps = manifests.of_kind(&["ConfigMap"]);
                assert!(
                    maps.any(|map| name(&map["metadata"]) == wanted),
                    "{file}: {wanted}"
                );
            }
            for mount in containers(workload)
                .iter()
                .flat_map(|c| items(&c["volumeMounts"]))
            {
                let mut volumes = items(&template["spec"]["volumes"]).iter();
                assert!(
                    volumes.any(|volume| volume["name"] == mount["name"]),
                    "{file}"
                );
            }
        }
        for service in manifests.of_kind(&["Service"]) {
            let selector = &service["spec"]["selector"];
            let is_selected = |w: &&Yaml| &w["spec"]["template"]["metadata"]["labels"] == selector;
            let workload = manifests.workloads().find(is_selected).expect(file);
            let open: Vec<_> = containers(workload)
                .iter()
                .flat_map(|c| items(&c["ports"]))
                .collect();
            for port in items(&service["spec"]["ports"]) {
                assert!(
                    open.iter().any(|open| open["name"] == port["targetPort"]),
                    "{file}"
                );
            }
        }
    }
}

#[test]
fn pipelines_of_collectors_name_components_that_are_configured() {
    let mut pipelines = 0;
    for manifests in all() {
        for map in manifests.of_kind(&["ConfigMap"]) {
            let text = map["data"]["config.yaml"].as_str().unwrap();
            let config = &YamlLoader::load_from_str(text).unwrap()[0];
            for (signal, pipeline) in config["service"]["pipelines"].as_hash().unwrap() {
                pipelines += 1;
                for kind in ["receivers", "processors", "exporters"] {
                    for component in items(&pipeline[kind]) {
                        let is_there = !config[kind][component.as_str().unwrap()].is_badvalue();
                        assert!(
                            is_there,
                            "{}: {signal:?} uses {component:?}",
                            manifests.file
                        );
                    }
                }
            }
        }
    }
    assert!(pipelines >= 4, "{pipelines}");
}

#[test]
fn variables_are_those_that_this_crate_reads() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let known = fs::read_to_string(root.join("docs/configuration.md")).unwrap();
    let mut endpoints = 0;
    for manifests in all() {
        for variable in manifests
            .workloads()
            .flat_map(containers)
            .flat_map(|c| items(&c["env"]))
        {
            let name = name(variable);
            assert!(
                !name.starts_with("OTEL_") || known.contains(name),
                "{}: {name}",
                manifests.file
            );
            if name == "OTEL_EXPORTER_OTLP_ENDPOINT" {
                endpoints += 1;
                let endpoint = variable["value"]
                    .as_str()
                    .unwrap()
                    .replace("$(NODE_IP)", "10.0.0.1");
                let builder = tracing_otlp::builder()
                    .without_env()
                    .with_endpoint(&endpoint);
                let built = builder.build();
                drop(built.unwrap_or_else(|error| panic!("{endpoint}: {error}")));
            }
        }
    }
    assert!(endpoints >= 2, "{endpoints}");
}
