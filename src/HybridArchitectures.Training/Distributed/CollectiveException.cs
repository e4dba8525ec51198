namespace HybridArchitectures.Training.Distributed;

/// <summary>
/// The exception that is thrown if ranks cannot be connected, do not agree, or do not answer in time, or if another rank has failed. After it, the
/// collectives cannot be used.
/// </summary>
public sealed class CollectiveException : InvalidOperationException
{
    /// <summary>Creates an exception with a message.</summary>
    public CollectiveException(string message) : base(message) { }

    /// <summary>Creates an exception with a message and a cause.</summary>
    public CollectiveException(string message, Exception? cause) : base(message, cause) { }
}
