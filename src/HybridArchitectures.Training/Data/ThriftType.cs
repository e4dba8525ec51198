namespace HybridArchitectures.Training.Data;

/// <summary>Specifies the types of Thrift's compact protocol.</summary>
enum ThriftType
{
    Stop, True, False, Byte, Int16, Int32, Int64, Double, Binary, List, Set, Map, Struct, Uuid,
}
