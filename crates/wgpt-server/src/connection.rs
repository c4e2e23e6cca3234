//! Limits the number of connections, in all and from one address, and how long a silent one is kept open.

use std::{
    collections::HashMap,
    future::Future,
    io,
    net::IpAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, atomic::Ordering::Relaxed},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::{Instant, Sleep},
};

use super::{app::Limits, metrics::Metrics, problem::Problem, router::Client};

/// Size in bytes of hyper's buffer for a connection.
const BUFFER: usize = 32 << 10;
/// How long the server waits until a client that is turned away has read the reason, and for how many at once.
const FAREWELL: Duration = Duration::from_secs(1);
const FAREWELLS: usize = 64;

/// Accepts connections indefinitely. Once `draining` is set, open connections close after their current request; new
/// ones are still accepted, to tell them that the server is shutting down.
pub async fn accept(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    metrics: Arc<Metrics>,
    draining: watch::Receiver<bool>,
) {
    let room = Arc::new(Semaphore::new(limits.connections));
    let addresses = Addresses::default();
    let farewells = Arc::new(Semaphore::new(FAREWELLS));
    let refuse = |stream, most, whence| {
        metrics.turned_away.fetch_add(1, Relaxed);
        tokio::spawn(tokio::time::timeout(FAREWELL, turn_away(stream, most, whence, farewells.clone())));
    };
    loop {
        let (stream, address) = match listener.accept().await {
            Ok((stream, peer)) => (stream, peer.ip().to_canonical()),
            Err(_) => {
                // The client disconnected early, or the process is out of file descriptors: both pass.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // Tokens are small and must not be delayed to be sent together.
        let _ = stream.set_nodelay(true);
        let Ok(place) = room.clone().try_acquire_owned() else {
            refuse(stream, limits.connections, "");
            continue;
        };
        let Some(counted) = addresses.enter(address, limits.per_address) else {
            refuse(stream, limits.per_address, " from one address");
            continue;
        };
        metrics.connections.fetch_add(1, Relaxed);
        let router = router.clone().layer(Extension(Client(address)));
        let (metrics, draining) = (metrics.clone(), draining.clone());
        tokio::spawn(async move {
            serve(stream, router, limits, draining).await;
            // The place is given back before the metric says so.
            drop((place, counted));
            metrics.connections.fetch_sub(1, Relaxed);
        });
    }
}

/// How many connections each address has.
#[derive(Clone, Default)]
struct Addresses(Arc<Mutex<HashMap<IpAddr, usize>>>);

impl Addresses {
    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Counts a connection until the result is dropped; [`None`] if the address has `most` already.
    fn enter(&self, address: IpAddr, most: usize) -> Option<Counted> {
        let mut counts = self.counts();
        let count = counts.entry(address).or_default();
        if *count >= most && !address.is_loopback() {
            return None;
        }
        *count += 1;
        Some(Counted { addresses: self.clone(), address })
    }
}

/// A counted connection.
struct Counted {
    addresses: Addresses,
    address: IpAddr,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.addresses.counts();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// Serves the requests of one connection.
async fn serve(stream: TcpStream, router: Router, limits: Limits, mut draining: watch::Receiver<bool>) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.idle).max_buf_size(BUFFER).keep_alive(true);
    let io = TokioIo::new(TimedStream {
        stream,
        stalled: limits.stalled,
        deadline: None,
        first: Some(Box::pin(tokio::time::sleep(limits.first))),
    });
    let mut connection = std::pin::pin!(builder.serve_connection(io, TowerToHyperService::new(router)));
    if *draining.borrow() {
        // The connection was accepted only to report the shutdown.
        let _ = connection.await;
        return;
    }
    // Errors of a connection concern only its client: it is closed, and its record is marked as broken.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = draining.wait_for(|draining| *draining) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// Reports that the server is full and, if `farewells` has a place, waits until the client has read it. If the connection were closed while something of the
/// request is unread, the system would reset it, and the client might never see the response.
async fn turn_away(
    mut stream: TcpStream,
    most: usize,
    whence: &'static str,
    farewells: Arc<Semaphore>,
) -> io::Result<()> {
    let status = axum::http::StatusCode::SERVICE_UNAVAILABLE;
    let reason = format!("too many connections: this server takes {most}{whence}; try again later");
    let body = Problem::new(status, "too_many_connections", reason).json().to_string();
    let head =
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\nRetry-After: 1";
    let response = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(response.as_bytes()).await?;
    stream.shutdown().await?;
    let Ok(_place) = farewells.try_acquire() else { return Ok(()) };
    let mut request = [0; 4096];
    while stream.read(&mut request).await? > 0 {}
    Ok(())
}

/// A stream that fails if its client sends nothing at first, or does not read for a while.
struct TimedStream {
    stream: TcpStream,
    stalled: Duration,
    /// Set while a write is waiting.
    deadline: Option<Pin<Box<Sleep>>>,
    /// Until the first byte arrives: when the time for it is over.
    first: Option<Pin<Box<Sleep>>>,
}

impl TimedStream {
    /// The result of a write; waiting too long is an error.
    fn watch<T>(&mut self, cx: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.deadline = None;
            return poll;
        }
        let end = Instant::now() + self.stalled;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")))
    }
}

impl AsyncRead for TimedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if poll.is_ready() {
            self.first = None;
        } else if let Some(first) = &mut self.first {
            ready!(first.as_mut().poll(cx));
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client sends nothing")));
        }
        poll
    }
}

impl AsyncWrite for TimedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, poll)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watch(cx, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_share_of_the_connections() {
        let addresses = Addresses::default();
        let (far, near) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([127, 0, 0, 1]));
        let two: Vec<_> = (0..2).filter_map(|_| addresses.enter(far, 2)).collect();
        assert!(two.len() == 2 && addresses.enter(far, 2).is_none());
        assert!(addresses.enter(IpAddr::from([10, 0, 0, 2]), 2).is_some());
        let many: Vec<_> = (0..5).filter_map(|_| addresses.enter(near, 2)).collect();
        assert_eq!(many.len(), 5, "behind this machine's own address there may be a proxy");
        drop(two);
        assert!(addresses.enter(far, 2).is_some());
        drop(many);
        assert!(addresses.counts().is_empty());
    }

    #[tokio::test]
    async fn a_client_that_is_turned_away_reads_why() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let limits = Limits { connections: 0, ..Limits::default() };
        let metrics = Arc::new(Metrics::default());
        let (_draining, watched) = watch::channel(false);
        tokio::spawn(accept(listener, Router::new(), limits, metrics.clone(), watched));
        let mut client = TcpStream::connect(address).await.unwrap();
        // The server has answered before any of this arrives, and must not reset the connection for it.
        let mut first = [0];
        client.read_exact(&mut first).await.unwrap();
        for _ in 0..8 {
            client.write_all(&[b'x'; 8192]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        client.shutdown().await.unwrap();
        let mut rest = String::new();
        client.read_to_string(&mut rest).await.unwrap();
        assert!(rest.starts_with("TTP/1.1 503") && rest.contains("too_many_connections"), "{rest}");
        assert_eq!(metrics.turned_away.load(Relaxed), 1);
    }
}
