# Bucket and region are given once: terraform init -backend-config=bucket=BUCKET -backend-config=region=REGION
terraform {
  backend "s3" {
    key          = "signet/dev.tfstate"
    encrypt      = true
    use_lockfile = true
  }
}
