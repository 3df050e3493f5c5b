//! What a gateway costs in which nothing happens: memory, and the time to be up.

use mimi_adapter::{ConversationId, NativeMessageId, NativeUserId};
use mimi_loopback::frame::{Act, AdapterFrame, ClientFrame};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    time::{Duration, timeout},
};

use crate::{
    BoxError,
    gateways::{Alone, Gateway},
    report::Figure,
};

/// A room is founded in milliseconds; a machine that needs longer for one has other work.
const PATIENCE: Duration = Duration::from_secs(30);

pub async fn measure(rooms: usize, runs: usize) -> Result<(), BoxError> {
    let (empty, _) = Alone::new(0).await?.start().await?;
    println!("\nan empty gateway: {:.1} MiB of memory (RSS)", empty.memory()?.0);
    drop(empty);

    let alone = Alone::new(rooms).await?;
    let (gateway, took) = alone.start().await?;
    println!("{rooms} rooms");
    println!("    the first start, which links them, took {:.2} s", took.as_secs_f64());
    found(&gateway, rooms).await?;
    let (now, highest) = gateway.memory()?;
    println!("    when each group had been founded: {now:.1} MiB, {highest:.1} MiB at its highest");
    gateway.kill().await?;
    let (mut starts, mut memory) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let (gateway, took) = alone.start().await?;
        starts.push(took.as_secs_f64());
        memory.push(gateway.memory()?.0);
        gateway.kill().await?;
    }
    println!("    started again after a kill: {:.2} s, {:.1} MiB", Figure::of(starts), Figure::of(memory));
    Ok(())
}

/// Alice comes into every room, and so each gets its group.
async fn found(gateway: &Gateway, rooms: usize) -> Result<(), BoxError> {
    let (reading, mut writing) = gateway.connect().await?.into_split();
    let mut lines = BufReader::new(reading).lines();
    // As many at a time as the adapter holds.
    for from in (0..rooms).step_by(500) {
        let to = rooms.min(from + 500);
        for room in from..to {
            let act = Act {
                id: NativeMessageId::new(format!("join {room}")),
                conversation: ConversationId::new(room.to_string()),
                from: NativeUserId::new("alice"),
                direct: None,
                thread: None,
            };
            let mut line = serde_json::to_vec(&ClientFrame::Join(act))?;
            line.push(b'\n');
            writing.write_all(&line).await?;
        }
        let mut accepted = 0;
        while accepted < to - from {
            let line = timeout(PATIENCE, lines.next_line()).await??.ok_or_else(|| gateway.trouble("hung up"))?;
            match serde_json::from_str(&line)? {
                AdapterFrame::Accepted { .. } => accepted += 1,
                AdapterFrame::Ping {} => writing.write_all(b"{\"pong\":{}}\n").await?,
                other => return Err(gateway.trouble(&format!("answered {other:?} to a join"))),
            }
        }
    }
    Ok(())
}
