"""moto's S3 on a free port of the loopback; ends when its standard input does, that is: with whoever started it.

moto looks whether a name is free and then takes it, on a thread for each connection: of some hundred races one had two winners.
S3 does both at once. Here conditional requests are therefore let in one at a time; everything else of them is moto's.
"""

import logging
import sys
import threading

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

logging.getLogger("werkzeug").setLevel(logging.ERROR)
WSGIRequestHandler.protocol_version = "HTTP/1.1"  # connections that are kept, as S3 keeps them
moto = DomainDispatcherApplication(create_backend_app)
one_at_a_time = threading.Lock()


def application(environ, start_response):
    if "HTTP_IF_NONE_MATCH" in environ or "HTTP_IF_MATCH" in environ:
        with one_at_a_time:
            return moto(environ, start_response)
    return moto(environ, start_response)


server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=MotoRequestHandler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_address[1], flush=True)
sys.stdin.read()
