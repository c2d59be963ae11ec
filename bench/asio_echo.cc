// An echo server on Asio, to compare with: one io_context on one thread, a session with a buffer
// per connection, read_some and async_write, as in Asio's own echo examples.
#include <array>
#include <asio.hpp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <unistd.h>
#include <utility>

using asio::ip::tcp;

namespace {

class session : public std::enable_shared_from_this<session> {
  public:
    explicit session(tcp::socket socket) : socket_(std::move(socket)) {}

    void read() {
        auto self = shared_from_this();
        socket_.async_read_some(asio::buffer(buffer_),
                                [this, self](std::error_code error, std::size_t len) {
                                    if (!error) {
                                        write(len);
                                    }
                                });
    }

  private:
    void write(std::size_t len) {
        auto self = shared_from_this();
        asio::async_write(socket_, asio::buffer(buffer_.data(), len),
                          [this, self](std::error_code error, std::size_t) {
                              if (!error) {
                                  read();
                              }
                          });
    }

    tcp::socket socket_;
    std::array<char, 32 * 1024> buffer_;
};

void accept_next(tcp::acceptor &acceptor) {
    acceptor.async_accept([&acceptor](std::error_code error, tcp::socket socket) {
        if (!error) {
            socket.set_option(tcp::no_delay(true));
            std::make_shared<session>(std::move(socket))->read();
        }
        accept_next(acceptor);
    });
}

std::string flag(int argc, char **argv, const std::string &name, const std::string &otherwise) {
    for (int i = 1; i + 1 < argc; i += 2) {
        if (argv[i] == name) {
            return argv[i + 1];
        }
    }
    return otherwise;
}

void exit_now(int) { _exit(0); }

} // namespace

int main(int argc, char **argv) {
    std::signal(SIGTERM, exit_now);
    asio::io_context context(1); // a hint that one thread runs it
    tcp::endpoint at(
        asio::ip::make_address(flag(argc, argv, "--host", "127.0.0.1")),
        static_cast<unsigned short>(std::atoi(flag(argc, argv, "--port", "0").c_str())));
    tcp::acceptor acceptor(context, at);
    acceptor.listen(4096);
    std::printf("listening on %s:%u\n", at.address().to_string().c_str(),
                static_cast<unsigned>(acceptor.local_endpoint().port()));
    std::fflush(stdout);
    accept_next(acceptor);
    context.run();
    return 0;
}
