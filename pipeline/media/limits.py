"""Limits for media files of unknown origin: what they may hold, and how much of the machine they may use."""

# Containers of ordinary footage. Playlists, concat scripts, SDP and all else that names other files are left out.
DEMUXERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,asf,mpeg,mpegts,mpegvideo,ogg,mxf,wav,mp3,aac,flac,ivf"
PROTOCOLS = "file,pipe"
MAX_SIDE_PX = 8192  # of a picture as it is stored: 8K fits, a header that claims 16k x 16k does not
MAX_STREAMS = 64
PROBE_BYTES = 1 << 30  # address space of the process that reads containers
DECODE_BYTES = 4 << 30  # and of one that decodes
