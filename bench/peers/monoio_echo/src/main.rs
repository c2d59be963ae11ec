//! A monoio echo server: one thread on io_uring, a task and a buffer per connection.
use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::{ListenerOpts, TcpListener, TcpStream};
use std::io;

fn flag(name: &str, otherwise: &str) -> String {
    let args: Vec<String> = std::env::args().collect();
    match args.iter().position(|arg| arg == name) {
        Some(at) => args[at + 1].clone(),
        None => otherwise.to_string(),
    }
}

extern "C" fn end(_: libc::c_int) {
    unsafe { libc::_exit(0) }
}

async fn echo(mut socket: TcpStream) -> io::Result<()> {
    let mut buffer: Vec<u8> = Vec::with_capacity(32 * 1024);
    socket.set_nodelay(true)?;
    loop {
        let (n, filled) = socket.read(buffer).await;
        if n? == 0 {
            return Ok(());
        }
        let (written, used) = socket.write_all(filled).await;
        written?;
        buffer = used;
        buffer.clear();
    }
}

#[monoio::main(driver = "iouring", entries = 4096)]
async fn main() -> io::Result<()> {
    unsafe { libc::signal(libc::SIGTERM, end as *const () as libc::sighandler_t) };
    let address = format!("{}:{}", flag("--host", "127.0.0.1"), flag("--port", "0"));
    let listener = TcpListener::bind_with_config(address, &ListenerOpts::new().backlog(4096))?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (socket, _) = listener.accept().await?;
        monoio::spawn(echo(socket));
    }
}
