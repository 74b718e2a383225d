import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.protobuf.ByteString;
import com.google.protobuf.Timestamp;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.net.URI;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.FileAttribute;
import java.nio.file.attribute.PosixFilePermissions;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.MessageDigest;
import java.security.PrivateKey;
import java.security.PublicKey;
import java.security.Signature;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.spec.ECGenParameterSpec;
import java.security.spec.PKCS8EncodedKeySpec;
import java.security.spec.X509EncodedKeySpec;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HexFormat;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.ThreadLocalRandom;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import signet.v1.Certificates.Certificate;
import signet.v1.Certificates.ConfirmCertificateRequest;
import signet.v1.Certificates.GetRenewalInfoRequest;
import signet.v1.Certificates.IssuedCertificate;
import signet.v1.Certificates.RenewCertificateRequest;
import signet.v1.Certificates.RenewalInfo;

/**
 * An identity of Signet in a folder: enrolls, renews when the control plane says so, and makes calls.
 *
 * <p>Keys are made here and stay here. One process at a time has the folder: two that renew one certificate look like a
 * victim and its thief, and the control plane locks out both (CLONE_DETECTED).
 */
final class Identity {
    private static final String CERTIFICATES = "signet.v1.CertificateService/";

    private final URI server;
    private final Path firstAnchors;
    private final Path folder;
    private final Path tokenFile;
    private FileChannel lock;
    private PrivateKey key;
    private List<X509Certificate> chain;
    private String serial;
    private Connection connection;
    private boolean confirmed;
    private int failures;
    private Instant due;
    private Instant askAt;
    private Instant retryAt;
    /** How far the control plane's clock is ahead. */
    private Duration ahead = Duration.ZERO;

    /** {@code tokenFile} may be null where there is a certificate already. */
    Identity(URI server, Path anchors, Path folder, Path tokenFile) {
        this.server = server;
        this.firstAnchors = anchors;
        this.folder = folder;
        this.tokenFile = tokenFile;
    }

    /** With the present certificate; another one after each renewal. */
    Connection connection() {
        return connection;
    }

    /** Takes up what is in the folder, or enrolls. */
    void open() throws IOException, GeneralSecurityException, SignetException {
        Files.createDirectories(folder, only("rwx------"));
        lock = FileChannel.open(folder.resolve("lock"), StandardOpenOption.CREATE, StandardOpenOption.WRITE);
        if (lock.tryLock() == null) {
            throw new SignetException(SignetException.Kind.MISUSED, "FOLDER_BUSY", "another process has " + folder);
        }
        if (Files.exists(folder.resolve("identity.pem"))) {
            takeUp();
        } else {
            enroll();
        }
    }

    /** Does what is due for the certificate; call it every few seconds. */
    void keep() throws IOException, GeneralSecurityException, SignetException {
        if (expired()) {
            if (clock().isBefore(retryAt)) {
                throw new SignetException(
                        SignetException.Kind.UNAVAILABLE, "CERTIFICATE_EXPIRED", "the next try is not due yet");
            }
            renew();
            return;
        }
        if (!confirmed) {
            confirm();
        }
        if (!clock().isBefore(askAt)) {
            ask();
        }
        if (!clock().isBefore(due) && !clock().isBefore(retryAt)) {
            renew();
        }
    }

    // The first certificate and the next ones.

    private void enroll() throws IOException, GeneralSecurityException, SignetException {
        if (tokenFile == null) {
            throw new SignetException(
                    SignetException.Kind.MISUSED, "NO_TOKEN", folder + " has no certificate yet: give a --token-file");
        }
        // The file ends with a line feed, which is no part of the token.
        String token = Files.readString(tokenFile).strip();
        Pending pending = pending("enroll " + sha256(token.getBytes(StandardCharsets.UTF_8)));
        JsonObject proof = new JsonObject();
        proof.addProperty("join_token", token);
        JsonObject body = new JsonObject();
        body.addProperty("request_id", pending.requestId);
        body.add("proof", proof);
        body.addProperty("csr_pem", pem("CERTIFICATE REQUEST", csr(pending.key)));
        store(pending.key, unnamed().post("/v1/enroll", body, Issued.class));
        System.err.println("INFO enrolled serial=" + serial);
    }

    /** At once, whatever the window is. */
    void renew() throws IOException, GeneralSecurityException, SignetException {
        String before = serial;
        Pending pending = pending("renew " + before);
        Issued issued;
        try {
            issued = expired() ? renewOutOfBand(pending) : renewByMtls(pending);
        } catch (SignetException error) {
            if (error.kind != SignetException.Kind.UNAVAILABLE) {
                throw error;
            }
            failures++;
            double pause = ThreadLocalRandom.current().nextDouble(0.5, 1) * Math.min(1 << Math.min(failures, 9), 300);
            retryAt = clock().plusMillis(Math.max(error.retryAfter.toMillis(), (long) (pause * 1000)));
            throw error;
        }
        store(pending.key, issued);
        System.err.println("INFO renewed serial=" + serial + " before=" + before);
    }

    private Issued renewByMtls(Pending pending) throws GeneralSecurityException, SignetException {
        RenewCertificateRequest request = RenewCertificateRequest.newBuilder()
                .setCsrDer(ByteString.copyFrom(csr(pending.key))).setRequestId(pending.requestId).build();
        var answer = connection.call(CERTIFICATES + "RenewCertificate", request, IssuedCertificate.parser());
        return new Issued(
                pem(answer.getChainDerList()), pem(answer.getRootDerList()), pem(answer.getTrustAnchorDerList()));
    }

    /** No handshake takes an expired certificate, so a signature with its key speaks for us. */
    private Issued renewOutOfBand(Pending pending) throws IOException, GeneralSecurityException, SignetException {
        byte[] request = csr(pending.key);
        Instant now = Instant.ofEpochSecond(clock().getEpochSecond());
        X509Certificate leaf = chain.get(0);
        // The environment's trust domain suffix: the SPIFFE ID's host without the tenant.
        Object spiffeId = leaf.getSubjectAlternativeNames().stream()
                .filter(name -> name.get(0).equals(6)).map(name -> name.get(1)).findFirst().orElseThrow();
        String suffix = URI.create(spiffeId.toString()).getHost().split("\\.", 2)[1];
        String text = String.join("\n", "signet-out-of-band-renewal-v1", suffix, sha256(leaf.getEncoded()),
                sha256(request), pending.requestId, String.valueOf(now.getEpochSecond()), "");
        byte[] signature = sign(key, text.getBytes(StandardCharsets.UTF_8));
        JsonObject body = new JsonObject();
        body.addProperty("request_id", pending.requestId);
        body.addProperty("certificate_pem", pem("CERTIFICATE", leaf.getEncoded()));
        body.addProperty("csr_pem", pem("CERTIFICATE REQUEST", request));
        body.addProperty("sign_time", now.toString());
        body.addProperty("signature", Base64.getEncoder().encodeToString(signature));
        return unnamed().post("/v1/renew", body, Issued.class);
    }

    /** The certificate before this one will not be used again, so a later use of it is a thief's. */
    private void confirm() throws SignetException {
        var request = ConfirmCertificateRequest.newBuilder().setRequestId(UUID.randomUUID().toString()).build();
        var answer = connection.call(CERTIFICATES + "ConfirmCertificate", request, Certificate.parser());
        if (!answer.getSerialNumber().equals(serial)) {
            throw new SignetException(
                    SignetException.Kind.OTHER, "WRONG_CERTIFICATE", "the connection still has the certificate before");
        }
        confirmed = true;
    }

    /** When to renew: an operator may steer that. */
    private void ask() throws IOException, GeneralSecurityException, SignetException {
        Instant sent = Instant.now();
        var nothing = GetRenewalInfoRequest.getDefaultInstance();
        var info = connection.call(CERTIFICATES + "GetRenewalInfo", nothing, RenewalInfo.parser());
        Instant middle = sent.plus(Duration.between(sent, Instant.now()).dividedBy(2));
        ahead = Duration.between(middle, instant(info.getServerTime()));
        double jitter = ThreadLocalRandom.current().nextDouble(0.5, 1.5);
        askAt = clock().plusMillis((long) (info.getRetryAfterSeconds() * 1000L * jitter));
        Instant start = instant(info.getWindowStart());
        Duration window = Duration.between(start, instant(info.getWindowEnd()));
        Instant drawn = start.plusMillis((long) (window.toMillis() * place()));
        Instant last = ends().minus(lifetime().dividedBy(6));
        due = drawn.isBefore(last) ? drawn : last;
        write("bundle.pem", pem(info.getTrustAnchorDerList()));
        System.err.println("INFO renewal due=" + due + " reason=" + info.getReason());
    }

    // What is kept.

    private record Pending(KeyPair key, String requestId) {}

    /** As the HTTPS API has it. */
    private record Issued(String chain_pem, String roots_pem, String trust_anchors_pem) {}

    /** The key and request id for {@code purpose}, on disk before they are sent: a lost answer is asked for again. */
    private Pending pending(String purpose) throws IOException, GeneralSecurityException {
        Path path = folder.resolve("pending.json");
        if (Files.exists(path)) {
            JsonObject kept = JsonParser.parseString(Files.readString(path)).getAsJsonObject();
            if (kept.get("purpose").getAsString().equals(purpose)) {
                PublicKey known = KeyFactory.getInstance("EC").generatePublic(
                        new X509EncodedKeySpec(Base64.getDecoder().decode(kept.get("public_key").getAsString())));
                PrivateKey own = privateKey(kept.get("key_pem").getAsString());
                return new Pending(new KeyPair(known, own), kept.get("request_id").getAsString());
            }
        }
        KeyPairGenerator generator = KeyPairGenerator.getInstance("EC");
        generator.initialize(new ECGenParameterSpec("secp256r1"));
        Pending pending = new Pending(generator.generateKeyPair(), UUID.randomUUID().toString());
        JsonObject kept = new JsonObject();
        kept.addProperty("purpose", purpose);
        kept.addProperty("request_id", pending.requestId);
        kept.addProperty("key_pem", pem("PRIVATE KEY", pending.key.getPrivate().getEncoded()));
        kept.addProperty("public_key", Base64.getEncoder().encodeToString(pending.key.getPublic().getEncoded()));
        write("pending.json", kept.toString());
        return pending;
    }

    private void store(KeyPair pair, Issued issued) throws IOException, GeneralSecurityException {
        // Whoever knows the server's own anchors (path length 0) trusts no root, which vouches for tenants, too.
        List<X509Certificate> known = certificates(issued.roots_pem);
        List<X509Certificate> own = known.stream().filter(anchor -> anchor.getBasicConstraints() == 0).toList();
        StringBuilder anchors = new StringBuilder();
        for (X509Certificate anchor : own.isEmpty() ? known : own) {
            anchors.append(pem("CERTIFICATE", anchor.getEncoded()));
        }
        write("anchors.pem", anchors.toString());
        write("bundle.pem", issued.trust_anchors_pem);
        // Key and chain are one file, so that one rename replaces both.
        write("identity.pem", pem("PRIVATE KEY", pair.getPrivate().getEncoded()) + issued.chain_pem);
        Files.deleteIfExists(folder.resolve("pending.json"));
        takeUp();
    }

    private void takeUp() throws IOException, GeneralSecurityException {
        String text = Files.readString(folder.resolve("identity.pem"));
        key = privateKey(text);
        chain = certificates(text);
        serial = "%032x".formatted(chain.get(0).getSerialNumber());
        confirmed = false;
        failures = 0;
        askAt = Instant.MIN;
        retryAt = Instant.MIN;
        // Until the control plane has said better.
        due = ends().minus(lifetime().dividedBy(3));
        // A TLS session that is resumed still has the old certificate: a new context has no sessions.
        connection = new Connection(server, anchors(), key, chain);
    }

    private static FileAttribute<?> only(String permissions) {
        return PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString(permissions));
    }

    /** Whole or not at all, and for this user only. */
    private void write(String name, String text) throws IOException {
        Path part = folder.resolve(name + ".part");
        Files.deleteIfExists(part);
        Files.createFile(part, only("rw-------"));
        try (FileChannel file = FileChannel.open(part, StandardOpenOption.WRITE)) {
            ByteBuffer bytes = ByteBuffer.wrap(text.getBytes(StandardCharsets.UTF_8));
            while (bytes.hasRemaining()) {
                file.write(bytes);
            }
            file.force(true);
        }
        Files.move(part, folder.resolve(name), StandardCopyOption.ATOMIC_MOVE);
        try (FileChannel directory = FileChannel.open(folder, StandardOpenOption.READ)) {
            directory.force(true);
        }
    }

    private List<X509Certificate> anchors() throws IOException, GeneralSecurityException {
        Path own = folder.resolve("anchors.pem");
        return certificates(Files.readString(Files.exists(own) ? own : firstAnchors));
    }

    /** Without a certificate: the proof is in the request. */
    private Connection unnamed() throws IOException, GeneralSecurityException {
        return new Connection(server, anchors(), null, List.of());
    }

    // Time.

    private Instant clock() {
        return Instant.now().plus(ahead);
    }

    private Instant ends() {
        return chain.get(0).getNotAfter().toInstant();
    }

    private Duration lifetime() {
        return Duration.between(chain.get(0).getNotBefore().toInstant(), ends());
    }

    private boolean expired() {
        return !clock().isBefore(ends());
    }

    /** Its place in any window: at random, and the same one after a restart. */
    private double place() throws GeneralSecurityException {
        byte[] digest = MessageDigest.getInstance("SHA-256").digest(chain.get(0).getEncoded());
        return (ByteBuffer.wrap(digest).getLong() >>> 11) * 0x1.0p-53;
    }

    private static Instant instant(Timestamp time) {
        return Instant.ofEpochSecond(time.getSeconds(), time.getNanos());
    }

    // Encodings.

    /** PKCS#10, for which the JDK has no class. Names are the control plane's to give; only the key counts. */
    private static byte[] csr(KeyPair pair) throws GeneralSecurityException {
        byte[] version = der(0x02, new byte[1]);
        byte[] info = der(0x30, version, der(0x30), pair.getPublic().getEncoded(), der(0xa0));
        byte[] ecdsaWithSha256 = der(0x30, der(0x06, HexFormat.of().parseHex("2a8648ce3d040302")));
        return der(0x30, info, ecdsaWithSha256, der(0x03, new byte[1], sign(pair.getPrivate(), info)));
    }

    private static byte[] der(int tag, byte[]... parts) {
        ByteArrayOutputStream body = new ByteArrayOutputStream();
        for (byte[] part : parts) {
            body.writeBytes(part);
        }
        ByteArrayOutputStream all = new ByteArrayOutputStream();
        all.write(tag);
        if (body.size() >= 128) {
            all.write(0x81);
        }
        all.write(body.size());
        all.writeBytes(body.toByteArray());
        return all.toByteArray();
    }

    private static byte[] sign(PrivateKey key, byte[] text) throws GeneralSecurityException {
        Signature signature = Signature.getInstance("SHA256withECDSA");
        signature.initSign(key);
        signature.update(text);
        return signature.sign();
    }

    private static String sha256(byte[] bytes) throws GeneralSecurityException {
        return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(bytes));
    }

    private static final Pattern BLOCK = Pattern.compile("-----BEGIN ([A-Z ]+)-----([^-]+)-----END");

    private static List<byte[]> blocks(String text, String what) {
        return BLOCK.matcher(text).results().filter(block -> block.group(1).equals(what))
                .map(block -> Base64.getMimeDecoder().decode(block.group(2))).toList();
    }

    private static List<X509Certificate> certificates(String text) throws GeneralSecurityException {
        List<X509Certificate> found = new ArrayList<>();
        for (byte[] der : blocks(text, "CERTIFICATE")) {
            var read = CertificateFactory.getInstance("X.509").generateCertificate(new ByteArrayInputStream(der));
            found.add((X509Certificate) read);
        }
        return found;
    }

    private static PrivateKey privateKey(String text) throws GeneralSecurityException {
        var der = new PKCS8EncodedKeySpec(blocks(text, "PRIVATE KEY").get(0));
        return KeyFactory.getInstance("EC").generatePrivate(der);
    }

    private static String pem(String what, byte[] der) {
        String lines = Base64.getMimeEncoder(64, new byte[] {'\n'}).encodeToString(der);
        return "-----BEGIN " + what + "-----\n" + lines + "\n-----END " + what + "-----\n";
    }

    private static String pem(List<ByteString> certificates) {
        return certificates.stream().map(der -> pem("CERTIFICATE", der.toByteArray())).collect(Collectors.joining());
    }
}
