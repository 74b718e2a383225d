import java.time.Duration;

/** A failure; its reason is one of proto/REASONS.md, or the name of a TLS alert. */
final class SignetException extends Exception {
    private static final long serialVersionUID = 1;
    final Kind kind;
    final Duration retryAfter;

    SignetException(Kind kind, String reason, String text) {
        this(kind, reason, text, Duration.ZERO);
    }

    SignetException(Kind kind, String reason, String text, Duration retryAfter) {
        super(reason + ": " + text + (retryAfter.isZero() ? "" : " (again in " + retryAfter.toSeconds() + " s)"));
        this.kind = kind;
        this.retryAfter = retryAfter;
    }

    /** Who must act on it. */
    enum Kind {
        OTHER(1),
        /** Something is missing or in the way on this machine. */
        MISUSED(2),
        /** The control plane said no. Asking again does not help. */
        REFUSED(4),
        /** The server is not the one that the anchors are for. */
        UNTRUSTED(4),
        /** No answer, or one that says: later. */
        UNAVAILABLE(6);

        final int exitCode;

        Kind(int exitCode) {
            this.exitCode = exitCode;
        }
    }
}
