using System.Collections.Concurrent;

namespace HybridArchitectures.Generation;

/// <summary>
/// Runs work on one thread. libtorch keeps thread pools and scopes per calling thread, so a stream of steps stays on one thread. The thread ends when
/// it is disposed, or when its owner is collected.
/// </summary>
sealed class WorkThread : IDisposable
{
    readonly BlockingCollection<Action> work = [];

    public WorkThread(string name)
    {
        // only the queue is referenced by the thread, so that the thread does not keep its owner alive
        var queue = work;
        new Thread(() => Run(queue)) { IsBackground = true, Name = name }.Start();
    }

    ~WorkThread() => work.CompleteAdding();

    /// <summary>Runs a function on the thread.</summary>
    public Task<T> Run<T>(Func<T> function)
    {
        var done = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        work.Add(() =>
        {
            try
            {
                done.SetResult(function());
            }
            catch (OperationCanceledException error)
            {
                done.SetCanceled(error.CancellationToken);
            }
            catch (Exception error)
            {
                done.SetException(error);
            }
        });
        return done.Task;
    }

    /// <summary>Ends the thread when its work is complete.</summary>
    public void Dispose()
    {
        work.CompleteAdding();
        GC.SuppressFinalize(this);
    }

    static void Run(BlockingCollection<Action> queue)
    {
        foreach (var action in queue.GetConsumingEnumerable()) action();
    }
}
