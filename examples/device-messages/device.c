/* Signs a message as a device does (Standard Webhooks), with OpenSSL's libcrypto.
 *
 * cc -o device device.c -lcrypto
 * ./device SECRET_FILE [ID TIMESTAMP] < body   prints the three headers; without ID and TIMESTAMP a message of now. */

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LARGEST_BODY 65536

/* The 32 bytes of a secret's file. 0: it has none. */
static int read_secret(const char *path, unsigned char key[33]) {
  char text[64] = {0};
  FILE *file = fopen(path, "r");
  if (!file || !fgets(text, sizeof text, file)) return 0;
  fclose(file);
  text[strcspn(text, "\r\n")] = 0;
  /* whsec_ and 44 characters, the last of them padding: 33 bytes, of which the last is none. */
  int whole = strlen(text) == 50 && !strncmp(text, "whsec_", 6) && EVP_DecodeBlock(key, (unsigned char *)text + 6, 44) == 33;
  OPENSSL_cleanse(text, sizeof text);
  return whole;
}

int main(int argc, char **argv) {
  unsigned char key[33], tag[32], random[16];
  static unsigned char signed_bytes[128 + LARGEST_BODY];
  char id[65] = "msg_", timestamp[21], signature[45];
  if ((argc != 2 && argc != 4) || !read_secret(argv[1], key)) {
    fprintf(stderr, "device SECRET_FILE [ID TIMESTAMP] < body\n");
    return 2;
  }
  if (argc == 4) {
    snprintf(id, sizeof id, "%s", argv[2]);
    snprintf(timestamp, sizeof timestamp, "%s", argv[3]);
  } else {
    if (RAND_bytes(random, sizeof random) != 1) return 1;
    for (int i = 0; i < 16; i++) snprintf(id + 4 + 2 * i, 3, "%02x", random[i]);
    snprintf(timestamp, sizeof timestamp, "%lld", (long long)time(NULL));
  }
  int head = snprintf((char *)signed_bytes, 128, "%s.%s.", id, timestamp);
  size_t body = fread(signed_bytes + head, 1, LARGEST_BODY, stdin);
  if (!feof(stdin) && fgetc(stdin) != EOF) {
    fprintf(stderr, "the body has more than %d bytes\n", LARGEST_BODY);
    return 2;
  }
  if (!HMAC(EVP_sha256(), key, 32, signed_bytes, head + body, tag, NULL)) return 1;
  OPENSSL_cleanse(key, sizeof key);
  EVP_EncodeBlock((unsigned char *)signature, tag, sizeof tag);
  printf("webhook-id: %s\nwebhook-timestamp: %s\nwebhook-signature: v1,%s\n", id, timestamp, signature);
  return 0;
}
