// The QXmpp peer: signals of QXmppClient, its MAM and MUC managers.
#include <QCoreApplication>
#include <QTimer>
#include <QElapsedTimer>
#include <QXmppClient.h>
#include <QXmppConfiguration.h>
#include <QXmppMamManager.h>
#include <QXmppMessage.h>
#include <QXmppMucManager.h>
#include <QXmppPingIq.h>
#include <QXmppResultSet.h>
#include <QXmppUtils.h>
#include <functional>

static QString W;
static long N, n, chk, sent, inflight;

static void say(QXmppClient *c, const QString &body)
{
    c->sendPacket(QXmppMessage(QString(), "ctl@localhost", body));
}
static void done(QXmppClient *c) { say(c, QString("DONE n=%1 chk=%2").arg(n).arg(chk)); }

static void dial(QXmppClient *c)
{
    QXmppConfiguration conf;
    conf.setJid(qgetenv("XB_JID"));
    conf.setPassword(qgetenv("XB_PASS"));
    conf.setHost(qgetenv("XB_HOST"));
    conf.setPort(qgetenv("XB_PORT").toInt());
    conf.setStreamSecurityMode(QXmppConfiguration::TLSDisabled);
    conf.setAutoReconnectionEnabled(false);
    c->connectToServer(conf);
}

static void ping(QXmppClient *c)
{
    QXmppPingIq iq;
    iq.setTo("localhost");
    c->sendPacket(iq);
    sent++;
}

int main(int argc, char **argv)
{
    QCoreApplication app(argc, argv);
    W = qgetenv("XB_W");
    N = qgetenv("XB_N").toLong();
    inflight = qgetenv("XB_INFLIGHT").toLong();

    if (W.startsWith("W6")) {
        std::function<void()> next = [&] {
            auto *c = new QXmppClient(&app);
            QObject::connect(c, &QXmppClient::connected, [&, c] {
                if (++n == N)
                    done(c);
                else
                    QTimer::singleShot(0, next);
            });
            dial(c);
        };
        next();
        return app.exec();
    }
    if (W.startsWith("W7")) {
        std::function<void()> next = [&] {
            auto *c = new QXmppClient(&app);
            QObject::connect(c, &QXmppClient::connected, [c] { say(c, "GO"); });
            QObject::connect(c, &QXmppClient::messageReceived, [&, c](const QXmppMessage &) {
                c->disconnectFromServer();
                c->deleteLater();
                if (++n < N)
                    QTimer::singleShot(0, next);
                else
                    QTimer::singleShot(500, &app, &QCoreApplication::quit);
            });
            dial(c);
        };
        next();
        return app.exec();
    }

    QXmppClient c;
    QXmppMamManager mam;
    QXmppMucManager muc;
    c.addExtension(&mam);
    c.addExtension(&muc);
    auto flood = [&] {
        for (long i = 0; i < N; i++) {
            QXmppMessage m(QString(), "user1@localhost/Conversations.k3Xy",
                           "her come and will this use go other hot of day he had people he who & more than");
            c.sendPacket(m);
        }
    };
    auto onMessage = [&](const QXmppMessage &m) {
        if (m.body() == "END") {
            if (W.startsWith("W5"))
                flood();
            else
                done(&c);
            return;
        }
        n++;
        chk += m.from().size() + m.id().size() + m.body().size();
    };
    auto query = [&](const QString &after) {
        QXmppResultSetQuery rsm;
        rsm.setMax(250);
        if (!after.isEmpty())
            rsm.setAfter(after);
        mam.retrieveArchivedMessages("bench@localhost", QString(), QString(), QDateTime(), QDateTime(), rsm);
    };
    QObject::connect(&mam, &QXmppMamManager::archivedMessageReceived, [&](const QString &, const QXmppMessage &m) {
        n++; // the archive id (21 long) is not exposed, the stamp (27) only as a QDateTime
        chk += 21 + (m.stamp().isValid() ? 27 : 0) + m.from().size() + m.id().size() + m.body().size();
    });
    QObject::connect(&mam, &QXmppMamManager::resultsRecieved, [&](const QString &, const QXmppResultSetReply &r, bool complete) {
        if (complete)
            done(&c);
        else
            query(r.last());
    });
    QObject::connect(&c, &QXmppClient::iqReceived, [&](const QXmppIq &) {
        if (!W.startsWith("W4") || !sent)
            return;
        if (++n == N)
            done(&c);
        else if (sent < N)
            ping(&c);
    });
    QObject::connect(&c, &QXmppClient::connected, [&] {
        if (W == "W3") {
            QXmppMucRoom *room = muc.addRoom(qgetenv("XB_ROOM"));
            room->setNickName("bench");
            QObject::connect(room, &QXmppMucRoom::participantAdded, [room](const QString &jid) {
                QXmppMucItem i = room->participantPresence(jid).mucItem();
                n++;
                chk += jid.size() + QXmppMucItem::affiliationToString(i.affiliation()).size() + QXmppMucItem::roleToString(i.role()).size();
            });
            QObject::connect(room, &QXmppMucRoom::messageReceived, onMessage);
            room->join();
            return;
        }
        if (W == "W1" || W.startsWith("W5"))
            QObject::connect(&c, &QXmppClient::messageReceived, onMessage);
        say(&c, "GO");
        if (W == "W2")
            query("");
        if (W.startsWith("W4"))
            while (sent < inflight)
                ping(&c);
    });
    dial(&c);
    return app.exec();
}
