//! Collectors as processes, each with a store behind it.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tracing_otlp::testing::Collector;

const PATIENCE: Duration = Duration::from_secs(60);

/// The path of rotel's program, if there is one.
pub fn rotel() -> Option<String> {
    let named = std::env::var("ROTEL").ok();
    if let Some(path) = named.filter(|path| !path.is_empty()) {
        return Some(path);
    }
    let in_path = std::env::var("PATH").unwrap_or_default();
    let mut places = in_path
        .split(':')
        .map(|place| format!("{place}/rotel-agent"));
    if let Some(found) = places.find(|place| Path::new(place).is_file()) {
        return Some(found);
    }
    // The package of Python has the program inside.
    let script =
        "import os, rotel; print(os.path.join(os.path.dirname(rotel.__file__), 'rotel-agent'))";
    let output = Command::new("python3")
        .args(["-c", script])
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let path = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    Path::new(&path).is_file().then_some(path)
}

/// The collectors, and a store for what each of them passes on.
pub struct Tier {
    rotel: String,
    members: Vec<Member>,
}

struct Member {
    grpc: u16,
    http: u16,
    process: Option<Child>,
    store: Collector,
}

impl Tier {
    pub fn new(rotel: &str, members: usize) -> std::io::Result<Self> {
        // All at once, so that no two are the same; a process takes a port by its number.
        let ports = (0..2 * members)
            .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .collect::<Result<Vec<_>, _>>()?;
        let ports = ports
            .iter()
            .map(|port| Ok(port.local_addr()?.port()))
            .collect::<std::io::Result<Vec<_>>>()?;
        let member = |pair: &[u16]| Member {
            grpc: pair[0],
            http: pair[1],
            process: None,
            store: Collector::start(),
        };
        Ok(Self {
            rotel: rotel.to_owned(),
            members: ports.chunks_exact(2).map(member).collect(),
        })
    }

    /// The setting of the producers.
    pub fn endpoints(&self) -> String {
        let urls = self
            .members
            .iter()
            .map(|member| format!("http://127.0.0.1:{}", member.grpc));
        urls.collect::<Vec<_>>().join(",")
    }

    pub fn start(&mut self, index: usize) -> Result<(), Box<dyn Error>> {
        let member = &mut self.members[index];
        let mut command = Command::new(&self.rotel);
        command.arg("start");
        command.args([
            "--otlp-grpc-endpoint",
            &format!("127.0.0.1:{}", member.grpc),
        ]);
        command.args([
            "--otlp-http-endpoint",
            &format!("127.0.0.1:{}", member.http),
        ]);
        command.args(["--exporter", "otlp", "--otlp-exporter-protocol", "grpc"]);
        command.args(["--otlp-exporter-endpoint", &member.store.grpc_endpoint()]);
        command.args(["--batch-timeout", "100ms"]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        member.process = Some(command.spawn()?);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, member.grpc));
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect_timeout(&address, PATIENCE).is_err() {
            let status = member
                .process
                .as_mut()
                .and_then(|process| process.try_wait().transpose());
            if let Some(status) = status {
                return Err(format!("rotel ended with {}", status?).into());
            }
            if Instant::now() > deadline {
                return Err("rotel takes no connection".into());
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Ends a collector as the kernel ends one that has too much memory: what it holds is gone.
    pub fn kill(&mut self, index: usize) -> std::io::Result<()> {
        if let Some(mut process) = self.members[index].process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    /// Ends a collector as a rolling update does, and starts it again.
    pub fn restart(&mut self, index: usize) -> Result<(), Box<dyn Error>> {
        self.terminate(index)?;
        self.start(index)
    }

    fn terminate(&mut self, index: usize) -> std::io::Result<()> {
        if let Some(mut process) = self.members[index].process.take() {
            Command::new("kill")
                .args(["-TERM", &process.id().to_string()])
                .status()?;
            process.wait()?;
        }
        Ok(())
    }

    pub fn stop(&mut self) -> std::io::Result<()> {
        (0..self.members.len()).try_for_each(|index| self.terminate(index))
    }

    pub fn running(&self) -> impl Iterator<Item = usize> {
        let running = self
            .members
            .iter()
            .enumerate()
            .filter(|(_, member)| member.process.is_some());
        running.map(|(index, _)| index)
    }

    pub fn counts(&self) -> Vec<usize> {
        self.stores()
            .iter()
            .map(|store| store.span_count())
            .collect()
    }

    pub fn stores(&self) -> Vec<&Collector> {
        self.members.iter().map(|member| &member.store).collect()
    }
}

impl Drop for Tier {
    /// After an error too: no collector outlives the example.
    fn drop(&mut self) {
        for index in 0..self.members.len() {
            let _ = self.kill(index);
        }
    }
}
