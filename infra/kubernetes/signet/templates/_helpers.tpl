{{- define "signet.labels" -}}
app.kubernetes.io/name: signet
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "signet.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- /* What both containers are kept from, and what they see. */ -}}
{{- define "signet.container" -}}
image: {{ include "signet.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
resources: {{- toYaml .Values.resources | nindent 2 }}
volumeMounts:
  - { name: config, mountPath: /etc/signet, readOnly: true }
  - { name: state, mountPath: /var/lib/signet }
{{- if eq .Values.storage "sqlite" }}
  - { name: passphrase, mountPath: /run/signet/passphrase, readOnly: true }
{{- end }}
{{- if .Values.clusterIssuer }}
  - { name: cluster-ca, mountPath: /run/signet/cluster, readOnly: true }
{{- end }}
{{- end }}
