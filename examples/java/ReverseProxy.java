import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.HttpURLConnection;
import java.net.InetSocketAddress;
import java.net.URL;
import java.util.concurrent.Executors;

/** A reverse proxy that opens one connection to its upstream for each request. */
public final class ReverseProxy {
  private final String upstream;

  private ReverseProxy(String upstream) {
    this.upstream = upstream;
  }

  private void forward(HttpExchange exchange) throws IOException {
    URL url = new URL(upstream + exchange.getRequestURI());
    HttpURLConnection connection = (HttpURLConnection) url.openConnection();
    connection.setRequestMethod(exchange.getRequestMethod());
    byte[] sent = exchange.getRequestBody().readAllBytes();
    if (sent.length > 0) {
      connection.setDoOutput(true);
      connection.setFixedLengthStreamingMode(sent.length);
      try (OutputStream out = connection.getOutputStream()) {
        out.write(sent);
      }
    }
    try (InputStream in = connection.getInputStream()) {
      byte[] answer = in.readAllBytes();
      exchange.sendResponseHeaders(connection.getResponseCode(), answer.length);
      exchange.getResponseBody().write(answer);
    }
  }

  private void handle(HttpExchange exchange) throws IOException {
    try (exchange) {
      forward(exchange);
    } catch (IOException unreachable) {
      exchange.sendResponseHeaders(502, -1);
    }
  }

  public static void main(String[] arguments) throws IOException {
    if (arguments.length != 2) {
      System.err.println("usage: java ReverseProxy.java PORT http://UPSTREAM:PORT");
      System.exit(2);
    }
    System.setProperty("http.keepAlive", "false");
    System.setProperty("sun.net.httpserver.nodelay", "true");
    HttpServer server =
        HttpServer.create(new InetSocketAddress(Integer.parseInt(arguments[0])), 4096);
    server.createContext("/", new ReverseProxy(arguments[1])::handle);
    server.setExecutor(Executors.newFixedThreadPool(64));
    server.start();
  }
}
