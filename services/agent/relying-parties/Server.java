// java Server.java /etc/signet/web 8443
import java.io.IOException;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.cert.*;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.*;
import javax.net.ssl.*;

class Server {
    static SSLContext context(Path folder) throws IOException, GeneralSecurityException {
        var x509 = CertificateFactory.getInstance("X.509");
        var anchors = new HashSet<TrustAnchor>();
        try (var file = Files.newInputStream(folder.resolve("bundle.pem"))) {
            x509.generateCertificates(file).forEach(anchor -> anchors.add(new TrustAnchor((X509Certificate) anchor, null)));
        }
        var checks = new PKIXBuilderParameters(anchors, new X509CertSelector());
        try (var file = Files.newInputStream(folder.resolve("crl.pem"))) {
            checks.addCertStore(CertStore.getInstance("Collection", new CollectionCertStoreParameters(x509.generateCRLs(file))));
        }
        var revocation = (PKIXRevocationChecker) CertPathBuilder.getInstance("PKIX").getRevocationChecker();
        revocation.setOptions(EnumSet.of(PKIXRevocationChecker.Option.PREFER_CRLS, PKIXRevocationChecker.Option.NO_FALLBACK));
        checks.addCertPathChecker(revocation);
        var trust = TrustManagerFactory.getInstance("PKIX");
        trust.init(new CertPathTrustManagerParameters(checks));

        Certificate[] chain;
        try (var file = Files.newInputStream(folder.resolve("cert.pem"))) {
            chain = x509.generateCertificates(file).toArray(Certificate[]::new);
        }
        var pem = Files.readString(folder.resolve("key.pem")).replaceAll("-----[A-Z ]+-----", "");
        var key = KeyFactory.getInstance("EC").generatePrivate(new PKCS8EncodedKeySpec(Base64.getMimeDecoder().decode(pem)));
        var store = KeyStore.getInstance("PKCS12");
        store.load(null, null);
        store.setKeyEntry("web", key, new char[0], chain);
        var keys = KeyManagerFactory.getInstance("PKIX");
        keys.init(store, new char[0]);

        var made = SSLContext.getInstance("TLS");
        made.init(keys.getKeyManagers(), trust.getTrustManagers(), null);
        return made;
    }

    static void answer(Socket plain, SSLContext tls) {
        try (var client = (SSLSocket) tls.getSocketFactory().createSocket(plain, null, plain.getPort(), true)) {
            client.setUseClientMode(false);
            client.setNeedClientAuth(true);
            var buffer = new byte[1000];
            client.getOutputStream().write(buffer, 0, Math.max(client.getInputStream().read(buffer), 0));
        } catch (IOException error) {
            System.err.println(error);
        }
    }

    public static void main(String[] arguments) throws Exception {
        var folder = Path.of(arguments[0]);
        var tls = context(folder);
        List<FileTime> seen = null;
        try (var listener = new ServerSocket(Integer.parseInt(arguments[1]))) {
            while (true) {
                var plain = listener.accept();
                plain.setSoTimeout(10_000);
                // A new context for new files: it also forgets all sessions. One that cannot be made leaves the last one in use.
                var now = new ArrayList<FileTime>();
                for (var name : List.of("cert.pem", "bundle.pem", "crl.pem")) now.add(Files.getLastModifiedTime(folder.resolve(name)));
                if (!now.equals(seen)) {
                    try {
                        tls = context(folder);
                        seen = now;
                    } catch (IOException | GeneralSecurityException error) {
                        System.err.println(error);
                    }
                }
                var present = tls;
                new Thread(() -> answer(plain, present)).start();
            }
        }
    }
}
