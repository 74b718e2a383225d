# For tests. s_server reads the files once: start it again after each change. Its -CRL takes one list, and a CA file any number.
cat /etc/signet/web/bundle.pem /etc/signet/web/crl.pem >/run/signet-trust.pem
exec openssl s_server -accept 8443 -cert /etc/signet/web/cert.pem -key /etc/signet/web/key.pem \
  -CAfile /run/signet-trust.pem -crl_check_all -Verify 1 -verify_return_error -rev
