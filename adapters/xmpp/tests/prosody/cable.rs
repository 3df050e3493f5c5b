//! The cable between the gateway and Prosody, which somebody keeps tripping over.

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

pub struct Cable {
    pub port: u16,
    cuts: watch::Sender<u32>,
}

impl Cable {
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let cable = Self { port: listener.local_addr().unwrap().port(), cuts: watch::Sender::new(0) };
        let mut cuts = cable.cuts.subscribe();
        tokio::spawn(async move {
            while let Ok((mut gateway, _)) = listener.accept().await {
                cuts.mark_unchanged();
                let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                // What is on its way in either direction is gone with the cut.
                tokio::select! {
                    _ = copy_bidirectional(&mut gateway, &mut server) => {}
                    cut = cuts.changed() => if cut.is_err() { return },
                }
            }
        });
        cable
    }

    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}
