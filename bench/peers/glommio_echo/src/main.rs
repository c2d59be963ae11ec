//! A glommio echo server: one executor on one thread, a task and a buffer per connection.
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use glommio::net::{TcpListener, TcpStream};
use glommio::{LocalExecutorBuilder, Placement};
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

async fn serve() -> io::Result<()> {
    let address = format!("{}:{}", flag("--host", "127.0.0.1"), flag("--port", "0"));
    let listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let socket = listener.accept().await?;
        glommio::spawn_local(echo(socket)).detach();
    }
}

fn main() -> io::Result<()> {
    unsafe { libc::signal(libc::SIGTERM, end as *const () as libc::sighandler_t) };
    let executor = LocalExecutorBuilder::new(Placement::Unbound).make()?;
    executor.run(serve())
}
