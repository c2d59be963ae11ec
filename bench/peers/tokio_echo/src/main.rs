//! A Tokio echo server, one thread (current_thread), a task and a buffer per connection.
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{signal, SignalKind};

fn flag(name: &str, otherwise: &str) -> String {
    let args: Vec<String> = std::env::args().collect();
    match args.iter().position(|arg| arg == name) {
        Some(at) => args[at + 1].clone(),
        None => otherwise.to_string(),
    }
}

async fn echo(mut socket: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; 32 * 1024];
    socket.set_nodelay(true)?;
    loop {
        let n = socket.read(&mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        socket.write_all(&buffer[..n]).await?;
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let address = format!("{}:{}", flag("--host", "127.0.0.1"), flag("--port", "0"));
    let listener = TcpListener::bind(address).await?;
    let mut end = signal(SignalKind::terminate())?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        tokio::select! {
            _ = end.recv() => return Ok(()),
            accepted = listener.accept() => {
                let (socket, _) = accepted?;
                tokio::spawn(echo(socket));
            }
        }
    }
}
