import java.io.IOException;
import java.net.URI;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import signet.v1.Principals.WhoAmIRequest;
import signet.v1.Principals.WhoAmIResponse;

/**
 * A worker that calls the control plane every few seconds, and goes on with each new certificate without a restart.
 *
 * <p>Standard output: a line for each call. Exit codes: 0 told to stop, 1 other, 2 usage, 4 refused, 6 unavailable
 * (--once).
 */
final class Worker {
    private static final String USAGE =
            "Worker --server URL --anchors FILE --folder DIR [--token-file FILE] [--every SECONDS] [--once] [--renew]";
    private static final List<String> OPTIONS = List.of("--server", "--anchors", "--folder", "--token-file", "--every");

    private static volatile int code = 0;

    public static void main(String[] arguments) {
        // The JVM ends with 143 by SIGTERM; this worker was told to stop.
        Runtime.getRuntime().addShutdownHook(new Thread(() -> Runtime.getRuntime().halt(code)));
        try {
            Map<String, String> given = given(arguments);
            Path token = given.containsKey("--token-file") ? Path.of(given.get("--token-file")) : null;
            URI server = URI.create(given.get("--server"));
            Path folder = Path.of(given.get("--folder"));
            Identity identity = new Identity(server, Path.of(given.get("--anchors")), folder, token);
            work(identity, Double.parseDouble(given.getOrDefault("--every", "5")), given);
        } catch (SignetException error) {
            System.err.println("ERROR " + error.getMessage());
            code = error.kind.exitCode;
        } catch (IOException | GeneralSecurityException | InterruptedException error) {
            System.err.println("ERROR " + error);
            code = 1;
        }
        System.exit(code);
    }

    private static void work(Identity identity, double every, Map<String, String> given)
            throws IOException, GeneralSecurityException, InterruptedException, SignetException {
        boolean once = given.containsKey("--once");
        identity.open();
        if (given.containsKey("--renew")) {
            identity.renew();
        }
        while (true) {
            try {
                identity.keep();
                whoAmI(identity);
            } catch (SignetException error) {
                if (once || error.kind != SignetException.Kind.UNAVAILABLE) {
                    throw error;
                }
                System.err.println("WARNING " + error.getMessage() + "; going on");
            }
            if (once) {
                return;
            }
            Thread.sleep((long) (every * 1000));
        }
    }

    private static void whoAmI(Identity identity) throws SignetException {
        var nothing = WhoAmIRequest.getDefaultInstance();
        var me = identity.connection().call("signet.v1.PrincipalService/WhoAmI", nothing, WhoAmIResponse.parser());
        System.out.println("called spiffe_id=" + me.getSpiffeId() + " serial=" + me.getSerialNumber());
    }

    private static Map<String, String> given(String[] arguments) throws SignetException {
        Map<String, String> given = new HashMap<>();
        for (int at = 0; at < arguments.length; at++) {
            if (arguments[at].equals("--once") || arguments[at].equals("--renew")) {
                given.put(arguments[at], "");
            } else if (OPTIONS.contains(arguments[at]) && at + 1 < arguments.length) {
                given.put(arguments[at], arguments[++at]);
            } else {
                throw new SignetException(SignetException.Kind.MISUSED, "USAGE", USAGE);
            }
        }
        if (!given.keySet().containsAll(OPTIONS.subList(0, 3))) {
            throw new SignetException(SignetException.Kind.MISUSED, "USAGE", USAGE);
        }
        return given;
    }
}
