import java.io.FileInputStream;
import java.net.URI;
import java.security.cert.*;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;

/** Java's own check of a certificate: arguments are the anchor, the leaf, and the responder's URL. */
class Revocation {
    public static void main(String[] args) throws Exception {
        var factory = CertificateFactory.getInstance("X.509");
        var anchor = (X509Certificate) factory.generateCertificate(new FileInputStream(args[0]));
        var leaf = factory.generateCertificate(new FileInputStream(args[1]));
        var validator = CertPathValidator.getInstance("PKIX");
        var checker = (PKIXRevocationChecker) validator.getRevocationChecker();
        checker.setOcspResponder(URI.create(args[2]));
        checker.setOptions(EnumSet.of(PKIXRevocationChecker.Option.NO_FALLBACK));
        var parameters = new PKIXParameters(Set.of(new TrustAnchor(anchor, null)));
        parameters.addCertPathChecker(checker);
        try {
            validator.validate(factory.generateCertPath(List.of(leaf)), parameters);
            System.out.println("good");
        } catch (CertPathValidatorException refused) {
            System.out.println(refused.getReason() + ": " + refused.getMessage());
        }
    }
}
