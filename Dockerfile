# The lab as a server for others (docs/host.md), on a processor: `docker build -t modadd . && docker run -p 7860:7860 modadd`.
FROM python:3.11-slim
# The compiler builds the step for this processor; without it training is slower, and all else the same.
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /lab
COPY . .
# The torch for processors, without CUDA.
RUN pip install --no-cache-dir uv==0.13.9 && uv pip install --system --no-cache --torch-backend cpu -r requirements.txt
RUN useradd --create-home --uid 1000 lab
USER lab
ENV MODADD_HOSTED=1 MODADD_CACHE=/home/lab/runs STREAMLIT_CLIENT_SHOW_ERROR_DETAILS=none \
    STREAMLIT_SERVER_ADDRESS=0.0.0.0 STREAMLIT_SERVER_PORT=7860
EXPOSE 7860
# The names that visitors type, with blanks between; a Space knows its own.
CMD STREAMLIT_SERVER_ALLOWED_HOSTS="${HOSTS:-${SPACE_HOST:-localhost 127.0.0.1}}" exec streamlit run streamlit_app.py
