#!/bin/sh
# Makes the certificates that examples/tls.yaml names, in examples/certs: for trying it out, not for production.
#   examples/certs.sh
#   maitred run -c examples/tls.yaml &
#   curl --cacert examples/certs/example.pem https://localhost:8443/hello
set -eu
mkdir -p "$(dirname "$0")/certs"
cd "$(dirname "$0")/certs"

# make NAME HOST: a certificate for HOST that has signed itself.
make() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 90 -keyout "$1.key" -out "$1.pem" \
        -subj "/CN=$2" -addext "subjectAltName=DNS:$2" 2>/dev/null
}

make example localhost
make api api.localhost
make gateway gateway.localhost
make partners-ca partners.example
make internal-ca internal.example

# A partner's certificate, which listener 9443 lets in: curl --cert partner.pem --key partner.key ...
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout partner.key -out partner.csr -subj /CN=shop 2>/dev/null
echo "subjectAltName=DNS:shop.partners.example" >partner.ext
openssl x509 -req -in partner.csr -CA partners-ca.pem -CAkey partners-ca.key -CAcreateserial -days 90 \
    -extfile partner.ext -out partner.pem 2>/dev/null
rm partner.csr partner.ext
echo "made: $(ls | tr '\n' ' ')"
