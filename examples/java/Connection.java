import com.google.gson.Gson;
import com.google.gson.JsonObject;
import com.google.protobuf.Any;
import com.google.protobuf.ByteString;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.MessageLite;
import com.google.protobuf.Parser;
import com.google.protobuf.UnknownFieldSet;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.URI;
import java.net.URLDecoder;
import java.net.http.HttpClient;
import java.net.http.HttpHeaders;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.cert.X509Certificate;
import java.time.Duration;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.regex.Pattern;
import javax.net.ssl.KeyManager;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManager;
import javax.net.ssl.TrustManagerFactory;

/** Calls of the control plane with one certificate, or none. */
final class Connection {
    private static final Duration LIMIT = Duration.ofSeconds(10);

    private final URI server;
    private final KeyManager[] keys;
    private final TrustManager[] trust;
    private final HttpClient client;

    /** {@code key} may be null, for nobody. */
    Connection(URI server, List<X509Certificate> anchors, PrivateKey key, List<X509Certificate> chain)
            throws IOException, GeneralSecurityException {
        this.server = server;
        KeyStore known = store();
        for (int number = 0; number < anchors.size(); number++) {
            known.setCertificateEntry("anchor-" + number, anchors.get(number));
        }
        TrustManagerFactory judges = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        judges.init(known);
        trust = judges.getTrustManagers();
        KeyStore own = store();
        if (key != null) {
            own.setKeyEntry("identity", key, new char[0], chain.toArray(X509Certificate[]::new));
        }
        KeyManagerFactory holders = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        holders.init(own, new char[0]);
        keys = holders.getKeyManagers();
        client = HttpClient.newBuilder().sslContext(tls()).connectTimeout(LIMIT).build();
    }

    /** A context of its own has no sessions to resume. */
    private SSLContext tls() throws GeneralSecurityException {
        SSLContext context = SSLContext.getInstance("TLSv1.3");
        context.init(keys, trust, null);
        return context;
    }

    private static KeyStore store() throws IOException, GeneralSecurityException {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        return store;
    }

    /**
     * A unary call of gRPC, which the JDK's HTTP/2 client can make: a message after a byte for compression and four for
     * its length. It shows no trailers, but a failure without a message has its status in the headers.
     */
    <T> T call(String method, MessageLite request, Parser<T> parser) throws SignetException {
        byte[] message = request.toByteArray();
        ByteBuffer frame = ByteBuffer.allocate(5 + message.length).put((byte) 0).putInt(message.length).put(message);
        HttpRequest post = HttpRequest.newBuilder(server.resolve("/" + method)).timeout(LIMIT)
                .header("content-type", "application/grpc").header("te", "trailers")
                .header("grpc-timeout", LIMIT.toMillis() + "m")
                .POST(HttpRequest.BodyPublishers.ofByteArray(frame.array())).build();
        HttpResponse<byte[]> answer = send(post, HttpResponse.BodyHandlers.ofByteArray());
        Optional<String> status = answer.headers().firstValue("grpc-status");
        byte[] body = answer.body();
        try {
            if (status.isEmpty() && body.length >= 5 && ByteBuffer.wrap(body).getInt(1) == body.length - 5) {
                return parser.parseFrom(Arrays.copyOfRange(body, 5, body.length));
            }
        } catch (InvalidProtocolBufferException malformed) {
            throw new SignetException(SignetException.Kind.OTHER, "MALFORMED", malformed.getMessage());
        }
        throw failure(answer.headers(), status.orElse("HTTP " + answer.statusCode()));
    }

    private <T> HttpResponse<T> send(HttpRequest request, HttpResponse.BodyHandler<T> body) throws SignetException {
        try {
            return client.send(request, body);
        } catch (IOException error) {
            SignetException known = unreachable(error);
            throw known.kind == SignetException.Kind.UNAVAILABLE ? lookAtHandshake(known) : known;
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
            throw new SignetException(SignetException.Kind.UNAVAILABLE, "INTERRUPTED", "told to stop");
        }
    }

    /**
     * TLS 1.3 refuses a certificate after the client's part of the handshake. HttpClient may miss that and wait for an
     * answer; a socket shows it.
     */
    private SignetException lookAtHandshake(SignetException otherwise) {
        try (Socket socket = tls().getSocketFactory().createSocket()) {
            int port = server.getPort() == -1 ? 443 : server.getPort();
            socket.connect(new InetSocketAddress(server.getHost(), port), (int) LIMIT.toMillis());
            socket.setSoTimeout((int) LIMIT.toMillis());
            byte[] question = "HEAD / HTTP/1.1\r\nhost: signet\r\n\r\n".getBytes(StandardCharsets.US_ASCII);
            socket.getOutputStream().write(question);
            socket.getInputStream().read();
        } catch (IOException | GeneralSecurityException error) {
            SignetException found = unreachable(error);
            return found.kind == SignetException.Kind.UNAVAILABLE ? otherwise : found;
        }
        return otherwise;
    }

    /** JSON over HTTPS. */
    <T> T post(String path, JsonObject body, Class<T> type) throws SignetException {
        HttpRequest request = HttpRequest.newBuilder(server.resolve(path)).timeout(LIMIT)
                .header("content-type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(body.toString())).build();
        HttpResponse<String> answer = send(request, HttpResponse.BodyHandlers.ofString());
        if (answer.statusCode() == 200) {
            return new Gson().fromJson(answer.body(), type);
        }
        // A gateway in between may answer, too, with no JSON.
        boolean isOurs = answer.headers().firstValue("content-type").orElse("").startsWith("application/problem+json");
        Problem problem = isOurs ? new Gson().fromJson(answer.body(), Problem.class) : new Problem(null, "", "");
        String reason = problem.reason != null ? problem.reason : "HTTP_" + answer.statusCode();
        String text = problem.detail + " " + problem.correlation_id;
        if (answer.statusCode() == 429 || answer.statusCode() >= 500) {
            long seconds = answer.headers().firstValueAsLong("retry-after").orElse(0);
            throw new SignetException(SignetException.Kind.UNAVAILABLE, reason, text, Duration.ofSeconds(seconds));
        }
        throw new SignetException(SignetException.Kind.REFUSED, reason, text);
    }

    private record Problem(String reason, String detail, String correlation_id) {}

    /** UNAVAILABLE, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED and ABORTED. */
    private static final List<String> PASSING = List.of("14", "4", "8", "10");

    private static SignetException failure(HttpHeaders headers, String status) {
        String reason = "GRPC_" + status;
        String message = headers.firstValue("grpc-message").orElse("").replace("+", "%2B");
        String text = URLDecoder.decode(message, StandardCharsets.UTF_8);
        Duration wait = Duration.ZERO;
        byte[] details = Base64.getDecoder().decode(headers.firstValue("grpc-status-details-bin").orElse(""));
        try {
            // google.rpc.Status: its third field are the details. Of each the first matters: `reason`, `retry_delay`.
            for (ByteString detail : UnknownFieldSet.parseFrom(details).getField(3).getLengthDelimitedList()) {
                Any any = Any.parseFrom(detail);
                var fields = UnknownFieldSet.parseFrom(any.getValue());
                ByteString first = fields.getField(1).getLengthDelimitedList().get(0);
                if (any.getTypeUrl().endsWith("/google.rpc.ErrorInfo")) {
                    reason = first.toStringUtf8();
                } else if (any.getTypeUrl().endsWith("/google.rpc.RetryInfo")) {
                    wait = Duration.ofSeconds(com.google.protobuf.Duration.parseFrom(first).getSeconds());
                }
            }
        } catch (InvalidProtocolBufferException | IndexOutOfBoundsException malformed) {
            text += " (its details cannot be read)";
        }
        SignetException.Kind kind = PASSING.contains(status) || status.startsWith("HTTP 5")
                ? SignetException.Kind.UNAVAILABLE
                : SignetException.Kind.REFUSED;
        return new SignetException(kind, reason, text, wait);
    }

    private static final Pattern ALERT = Pattern.compile("Received fatal alert: (\\w+)");

    /** No answer. TLS may have said why: it refused our certificate, or we its server's. */
    private static SignetException unreachable(Exception error) {
        for (Throwable cause = error; cause != null; cause = cause.getCause()) {
            var alert = ALERT.matcher(String.valueOf(cause.getMessage()));
            if (alert.find()) {
                String reason = alert.group(1).toUpperCase(Locale.ROOT);
                return new SignetException(SignetException.Kind.REFUSED, reason, "TLS refused our certificate");
            }
            if (cause instanceof java.security.cert.CertificateException) {
                return new SignetException(
                        SignetException.Kind.UNTRUSTED, "SERVER_CERTIFICATE_NOT_TRUSTED", cause.getMessage());
            }
        }
        return new SignetException(SignetException.Kind.UNAVAILABLE, "UNREACHABLE", error.toString());
    }
}
