//! `wgpt serve` as a process, and requests to it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::Child,
};

use serde_json::Value;

use crate::program::{Place, send};

/// A running server, which is killed at the end of its test.
pub struct Server {
    child: Child,
    /// Its host and port.
    pub address: String,
    log: Option<std::thread::JoinHandle<Vec<String>>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts it on a free port.
    pub fn start(place: &Place, options: &[&str]) -> Self {
        let serve = ["serve", "--port", "0", "--runs", ".", "--json", "--quiet"];
        let mut child = place.talk(&[&serve[..], options].concat());
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        // Drivers may print something first.
        let listening = |line: std::io::Result<String>| serde_json::from_str::<Value>(&line.ok()?).ok();
        let first = lines.by_ref().find_map(listening).expect("it says where it listens");
        let address = first["listening"].as_str().expect("an address").trim_start_matches("http://").to_string();
        let log = Some(std::thread::spawn(move || lines.map_while(Result::ok).collect()));
        Self { child, address, log }
    }

    /// Status, head and body of one request.
    pub fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        let host = if headers.contains("Host:") { String::new() } else { format!("Host: {}\r\n", self.address) };
        let head = format!("{method} {path} HTTP/1.1\r\n{host}Connection: close\r\nContent-Length: {}", body.len());
        stream.write_all(format!("{head}\r\n{headers}\r\n{body}").as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers in text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, head.to_string(), body.to_string())
    }

    /// Status and body of a request with a JSON body.
    pub fn json(&self, path: &str, body: &Value) -> (u16, Value) {
        let (status, _, body) = self.ask("POST", path, "", &body.to_string());
        (status, serde_json::from_str(&body).unwrap_or_else(|_| panic!("{body}")))
    }

    /// Ends it as a supervisor would; returns its last output and its log.
    pub fn stop(mut self) -> (Value, Vec<String>) {
        send("TERM", &self.child);
        let mut said = String::new();
        self.child.stdout.take().expect("a pipe").read_to_string(&mut said).expect("text");
        assert!(self.child.wait().expect("it ends").success(), "SIGTERM is a good end");
        let log = self.log.take().and_then(|log| log.join().ok()).expect("lines");
        (serde_json::from_str(said.lines().last().unwrap_or_default()).expect("JSON"), log)
    }
}
