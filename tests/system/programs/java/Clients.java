import java.io.DataInputStream;
import java.io.IOException;
import java.net.ConnectException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/** One way to connect, COUNT times: Clients WAY HOST PORT COUNT. Any wrong byte ends it with 1. */
public final class Clients {
  private static final int SIZE = 1000;
  private final String host;
  private final int port;

  private Clients(String host, int port) {
    this.host = host;
    this.port = port;
  }

  private static void check(boolean condition, String what) {
    if (!condition) throw new IllegalStateException(what);
  }

  private static byte[] bodyOf(int number) throws Exception {
    byte[] block =
        MessageDigest.getInstance("SHA-256")
            .digest(Integer.toString(number).getBytes(StandardCharsets.US_ASCII));
    byte[] body = new byte[SIZE];
    for (int i = 0; i < SIZE; i++) body[i] = block[i % block.length];
    return body;
  }

  private static byte[] request(int number) {
    return ("GET /" + number + "/" + SIZE + " HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        .getBytes(StandardCharsets.US_ASCII);
  }

  private static void checkAnswer(byte[] answer, int number) throws Exception {
    byte[] body = bodyOf(number);
    check(answer.length > SIZE, "only " + answer.length + " bytes");
    byte[] tail = Arrays.copyOfRange(answer, answer.length - SIZE, answer.length);
    check(Arrays.equals(tail, body), "other bytes than were sent");
  }

  private void exchange(Socket socket, int number) throws Exception {
    check(socket.getLocalPort() >= 20000 && socket.getLocalPort() <= 29999, "local port");
    check(socket.getPort() == port, "remote port");
    socket.getOutputStream().write(request(number));
    checkAnswer(new DataInputStream(socket.getInputStream()).readAllBytes(), number);
  }

  private void plain(int number) throws Exception {
    try (Socket socket = new Socket(host, port)) {
      exchange(socket, number);
    }
  }

  // bind() asks for the port at once (getsockname).
  private void bound(int number) throws Exception {
    try (Socket socket = new Socket()) {
      socket.bind(new InetSocketAddress("127.0.0.2", 0));
      int own = socket.getLocalPort();
      check(own > 0, "bound to port " + own);
      socket.connect(new InetSocketAddress(host, port), 10_000);
      check(socket.getLocalPort() == own, "another port than before");
      check(socket.getLocalAddress().equals(InetAddress.getByName("127.0.0.2")), "address");
      exchange(socket, number);
    }
  }

  private void channel(int number) throws Exception {
    try (SocketChannel channel = SocketChannel.open(new InetSocketAddress(host, port))) {
      exchange(channel.socket(), number);
    }
  }

  private void selected(int number) throws Exception {
    try (SocketChannel channel = SocketChannel.open();
        Selector selector = Selector.open()) {
      channel.configureBlocking(false);
      SelectionKey key = channel.register(selector, SelectionKey.OP_CONNECT);
      if (!channel.connect(new InetSocketAddress(host, port))) {
        while (!channel.finishConnect()) selector.select();
      }
      key.interestOps(SelectionKey.OP_READ);
      ByteBuffer out = ByteBuffer.wrap(request(number));
      while (out.hasRemaining()) channel.write(out);
      ByteBuffer in = ByteBuffer.allocate(4 * SIZE);
      while (channel.read(in) >= 0) selector.select();
      checkAnswer(Arrays.copyOf(in.array(), in.position()), number);
    }
  }

  private void refused(int number) throws Exception {
    try (Socket socket = new Socket(host, port)) {
      throw new IllegalStateException("connected where nobody listens");
    } catch (ConnectException expected) {
      check(expected.getMessage().contains("Connection refused"), expected.getMessage());
    }
  }

  private interface Way {
    void connect(int number) throws Exception;
  }

  // HTTP/1.1 keeps connections; as many at once as there are threads.
  private Way client() {
    HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
    return number -> {
      URI uri = URI.create("http://" + host + ":" + port + "/" + number + "/" + SIZE);
      byte[] body = client.send(HttpRequest.newBuilder(uri).build(), BodyHandlers.ofByteArray()).body();
      check(Arrays.equals(body, bodyOf(number)), "other bytes than were sent");
    };
  }

  private Way way(String name) {
    switch (name) {
      case "plain": return this::plain;
      case "bound": return this::bound;
      case "channel": return this::channel;
      case "selected": return this::selected;
      case "refused": return this::refused;
      case "client": return client();
      default: throw new IllegalArgumentException(name);
    }
  }

  public static void main(String[] arguments) throws Exception {
    Way way = new Clients(arguments[1], Integer.parseInt(arguments[2])).way(arguments[0]);
    int count = Integer.parseInt(arguments[3]);
    ExecutorService threads = Executors.newFixedThreadPool(Math.min(count, 32));
    List<Future<?>> results = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      int number = i;
      results.add(threads.submit(() -> { way.connect(number); return null; }));
    }
    for (Future<?> result : results) result.get();
    threads.shutdown();
  }
}
