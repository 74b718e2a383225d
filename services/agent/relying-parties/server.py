# python3 server.py /etc/signet/web 8443
import os, socket, ssl, sys, threading


def context(folder):
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=f"{folder}/bundle.pem")
    made.load_cert_chain(f"{folder}/cert.pem", f"{folder}/key.pem")
    made.load_verify_locations(f"{folder}/crl.pem")  # an error if there is no list in it
    made.verify_mode = ssl.CERT_REQUIRED
    made.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    return made


def answer(plain, tls):
    try:
        with tls.wrap_socket(plain, server_side=True) as client:
            client.sendall(client.recv(1000))
    except OSError as error:  # ssl.SSLError is one
        print(error, file=sys.stderr)


folder, port = sys.argv[1], int(sys.argv[2])
tls, seen = context(folder), None
listener = socket.create_server(("", port))
while True:
    plain, _ = listener.accept()
    plain.settimeout(10)
    # A new context for new files: it also forgets all sessions. One that cannot be made leaves the last one in use.
    now = [os.stat(f"{folder}/{name}").st_mtime_ns for name in ("cert.pem", "bundle.pem", "crl.pem")]
    if now != seen:
        try:
            tls, seen = context(folder), now
        except OSError as error:
            print(error, file=sys.stderr)
    threading.Thread(target=answer, args=(plain, tls)).start()
