import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.StandardSocketOptions;
import java.nio.channels.SocketChannel;
import java.util.ArrayList;
import java.util.List;

/**
 * Binds each socket to an address before it connects: EarlyBinds socket|channel SOURCE EACH PORT...
 * Holds EACH connections to every PORT of 127.0.0.1, and says how many there are. They end with a
 * reset: a TIME-WAIT on a port of one's own keeps it from all destinations.
 */
public final class EarlyBinds {
  private static void check(boolean condition, String what) {
    if (!condition) throw new IllegalStateException(what);
  }

  private static AutoCloseable socket(String source, int port) throws IOException {
    Socket socket = new Socket();
    try {
      socket.setSoLinger(true, 0);
      socket.bind(new InetSocketAddress(source, 0));
      check(socket.getLocalPort() > 0, "no port after bind()");
      socket.connect(new InetSocketAddress("127.0.0.1", port));
    } catch (IOException failed) {
      socket.close();
      throw failed;
    }
    check(socket.getLocalAddress().getHostAddress().equals(source), "source address");
    return socket;
  }

  private static AutoCloseable channel(String source, int port) throws IOException {
    SocketChannel channel = SocketChannel.open();
    try {
      channel.setOption(StandardSocketOptions.SO_LINGER, 0);
      channel.bind(new InetSocketAddress(source, 0));
      check(((InetSocketAddress) channel.getLocalAddress()).getPort() > 0, "no port after bind()");
      channel.connect(new InetSocketAddress("127.0.0.1", port));
    } catch (IOException failed) {
      channel.close();
      throw failed;
    }
    return channel;
  }

  public static void main(String[] arguments) throws Exception {
    boolean channels = arguments[0].equals("channel");
    int each = Integer.parseInt(arguments[2]);
    List<AutoCloseable> open = new ArrayList<>();
    int wanted = 0;
    for (int i = 0; i < each; i++) {
      for (int p = 3; p < arguments.length; p++) {
        wanted++;
        int port = Integer.parseInt(arguments[p]);
        try {
          open.add(channels ? channel(arguments[1], port) : socket(arguments[1], port));
        } catch (IOException failed) {
          if (wanted - open.size() == 1) System.out.println("first failure: " + failed.getMessage());
        }
      }
    }
    System.out.println("connected " + open.size() + " of " + wanted);
    for (AutoCloseable one : open) one.close();
  }
}
