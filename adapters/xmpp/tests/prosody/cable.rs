//! The cable between the gateway and Prosody, which somebody keeps tripping over.

use std::io;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

pub struct Cable {
    pub port: u16,
    cuts: watch::Sender<u32>,
    silent: watch::Sender<bool>,
}

impl Cable {
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (cuts, silent) = (watch::Sender::new(0), watch::Sender::new(false));
        let cable = Self { port: listener.local_addr().unwrap().port(), cuts, silent };
        let (mut cuts, silent) = (cable.cuts.subscribe(), cable.silent.subscribe());
        tokio::spawn(async move {
            while let Ok((gateway, _)) = listener.accept().await {
                cuts.mark_unchanged();
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
                // What is on its way in either direction is gone with the cut.
                tokio::select! {
                    _ = carry(gateway, server, &silent) => {}
                    cut = cuts.changed() => if cut.is_err() { return },
                }
            }
        });
        cable
    }

    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// What the server says is swallowed on the way, and what the gateway says gets through.
    pub fn falls_silent(&self) {
        self.silent.send_replace(true);
    }

    pub fn is_silent(&self) -> bool {
        *self.silent.borrow()
    }

    /// Connections from now on are whole. One with a gap in it is of no use to anybody.
    pub fn is_heard_again(&self) {
        self.silent.send_replace(false);
        self.cut();
    }
}

/// Until either side hangs up.
async fn carry(gateway: TcpStream, server: TcpStream, silent: &watch::Receiver<bool>) -> io::Result<()> {
    let ((mut from_gateway, mut to_gateway), (mut from_server, mut to_server)) =
        (gateway.into_split(), server.into_split());
    let there = async { tokio::io::copy(&mut from_gateway, &mut to_server).await.map(drop) };
    let back = async {
        let mut bytes = vec![0; 1 << 16];
        loop {
            let count = from_server.read(&mut bytes).await?;
            if count == 0 {
                return Ok(());
            }
            if !*silent.borrow() {
                to_gateway.write_all(&bytes[..count]).await?;
            }
        }
    };
    tokio::select! {
        ended = there => ended,
        ended = back => ended,
    }
}
