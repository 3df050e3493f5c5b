//! The network as a unix socket: JSON lines, each of them a [`ClientFrame`] or an [`AdapterFrame`].

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path, pin::pin};

use mimi_adapter::{BoxError, CancellationToken};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, BufWriter},
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    task::JoinSet,
};
use tracing::{debug, info, warn};

use crate::{
    frame::{AdapterFrame, ClientFrame},
    network::{Client, Network, Speech},
};

/// The longest line: a text of 1 MiB, every octet of it escaped, and some room.
const MAX_LINE: u64 = 8 << 20;

pub(crate) async fn bind(path: &Path) -> Result<UnixListener, BoxError> {
    let failed = |doing: &str, error: io::Error| format!("cannot {doing} the socket {}: {error}", path.display());
    // A socket outlives the process that made it. It is ours to replace if nobody answers there.
    if UnixStream::connect(path).await.is_ok() {
        return Err(failed("listen on", io::ErrorKind::AddrInUse.into()).into());
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("replace", error).into()),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(|error| failed("create", error))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(|error| failed("protect", error))?;
    info!(socket = %path.display(), "Listening.");
    Ok(listener)
}

pub(crate) async fn listen(listener: UnixListener, network: Network, stop: CancellationToken) {
    let mut lines = JoinSet::new();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, _)) => {
                lines.spawn(serve(stream, network.connect_by_wire()));
            }
            // Out of file descriptors, most likely. They come back when somebody leaves.
            Err(error) => {
                warn!(%error, "A client could not connect.");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
        while lines.try_join_next().is_some() {}
    }
    while lines.join_next().await.is_some() {}
}

/// Ends when the adapter has hung up and everything it said is written. A client that only stops talking
/// (`echo … | nc -U`) hears the answers.
async fn serve(stream: UnixStream, client: Client) {
    let (reading, writing) = stream.into_split();
    let (unreadable, complaints) = mpsc::channel(1);
    let reader = read(reading, client.to_adapter, unreadable);
    let mut writer = pin!(write(writing, client.from_adapter, complaints));
    let ended = tokio::select! {
        written = &mut writer => written,
        read = reader => match read {
            Ok(()) => writer.await,
            Err(error) => Err(error),
        },
    };
    if let Err(error) = ended {
        debug!(%error, "A client has gone.");
    }
}

async fn read(stream: OwnedReadHalf, to_adapter: Speech, unreadable: mpsc::Sender<AdapterFrame>) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        if (&mut stream).take(MAX_LINE).read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        if line.last() != Some(&b'\n') && line.len() as u64 == MAX_LINE {
            return Err(io::Error::other("the line is too long"));
        }
        match serde_json::from_slice::<ClientFrame>(&line) {
            Ok(frame) => {
                if !to_adapter.send(frame).await {
                    return Ok(());
                }
            }
            Err(error) => {
                let _ = unreadable.send(AdapterFrame::Unreadable { reason: error.to_string() }).await;
            }
        }
    }
}

/// Writes what there is and flushes when there is no more, so that a busy line makes few system calls.
async fn write(
    stream: OwnedWriteHalf,
    mut from_adapter: mpsc::Receiver<AdapterFrame>,
    mut complaints: mpsc::Receiver<AdapterFrame>,
) -> io::Result<()> {
    let mut stream = BufWriter::with_capacity(64 << 10, stream);
    loop {
        let frame = match from_adapter.try_recv() {
            Ok(frame) => frame,
            Err(_) => {
                stream.flush().await?;
                let next = tokio::select! {
                    next = from_adapter.recv() => next,
                    Some(complaint) = complaints.recv() => Some(complaint),
                };
                match next {
                    Some(frame) => frame,
                    None => return Ok(()),
                }
            }
        };
        let mut line = serde_json::to_vec(&frame).expect("frames have string keys only");
        line.push(b'\n');
        stream.write_all(&line).await?;
    }
}
