# Wind and solar dashboard: cd dashboard && python app.py, then open http://127.0.0.1:8050
# another port: python app.py 8051
import sys

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from dash import Dash, Input, Output, dcc, html
from sklearn.ensemble import RandomForestRegressor
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score
from sklearn.model_selection import train_test_split

# ---- copied from model_rf.ipynb ----
df = pd.read_csv("../germany.csv", parse_dates=["utc_timestamp"])

features = ["windspeed", "temperature", "rad_horizontal", "rad_diffuse"]
targets = ["solar_GW", "wind_GW"]
X = df[features]
y = df[targets]

X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.2, random_state=42)


def evaluate(name, actual, predicted):
    rmse = np.sqrt(mean_squared_error(actual, predicted))
    mae = mean_absolute_error(actual, predicted)
    r2 = r2_score(actual, predicted)
    print(f"{name}: RMSE {rmse:.3f} GW, MAE {mae:.3f} GW, R2 {r2:.3f}")
    return rmse, mae, r2


print("training ...")
rf = RandomForestRegressor(n_estimators=100, random_state=42)
rf.fit(X_train, y_train)
pred = rf.predict(X_test)
scores = {
    "solar_GW": evaluate("solar_GW", y_test["solar_GW"], pred[:, 0]),
    "wind_GW": evaluate("wind_GW", y_test["wind_GW"], pred[:, 1]),
}
# ---- end of copy ----

df[["solar_GW_pred", "wind_GW_pred"]] = rf.predict(X)
weeks = df.utc_timestamp.dt.strftime("%G-W%V").drop_duplicates().tolist()

app = Dash(__name__, title="Wind and solar")
app.layout = html.Div(
    style={"fontFamily": "sans-serif", "margin": "2em"},
    children=[
        html.H1("German wind and solar power"),
        dcc.Dropdown(
            id="target",
            options=[{"label": "Solar", "value": "solar_GW"}, {"label": "Wind", "value": "wind_GW"}],
            value="solar_GW",
            clearable=False,
        ),
        dcc.Dropdown(id="week", options=weeks, value=weeks[-1], clearable=False),
        dcc.Graph(id="graph"),
        html.P(id="score"),
    ],
)


@app.callback(Output("graph", "figure"), Output("score", "children"), Input("target", "value"), Input("week", "value"))
def update(target, week):
    part = df[df.utc_timestamp.dt.strftime("%G-W%V") == week]
    fig = go.Figure()
    fig.add_scatter(x=part.utc_timestamp, y=part[target], name="actual")
    fig.add_scatter(x=part.utc_timestamp, y=part[target + "_pred"], name="predicted")
    fig.update_layout(yaxis_title=target.replace("_", " "), xaxis_title="UTC")
    rmse, mae, r2 = scores[target]
    return fig, f"Model: random forest, RMSE {rmse:.2f} GW, R2 {r2:.2f}"


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8050
    app.run(host="127.0.0.1", port=port)
